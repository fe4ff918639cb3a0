"""Read COCO key points: person_keypoints_*.json, and the images in a folder beside it.

Each annotation with labelled key points is a sample: the image cropped to the annotation's `bbox`,
enlarged by a quarter. Crowds (`iscrowd`) are left out. A key point with v = 0 is missing; v = 1,
labelled but hidden, counts like v = 2, as in COCO's own metric.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.coco_json import Document, JsonObject, parse_numbers, read_document
from mapdrop.localize.data.dataset import Dataset, Format, Joints, Points, Sample, keep_labelled
from mapdrop.localize.data.image_files import ImageFile
from mapdrop.localize.data.joints import select_joints
from mapdrop.system.files import opened

MARGIN = 1.25
PEEK_BYTES = 1 << 18


def read(path: Path, selected: Joints | None = None) -> Dataset:
    """Read the annotated people of one file, or of a folder's training and validation files.

    Raises:
        DataError: for anything missing or malformed; it names the file, annotation and remedy.
    """
    root, files = _files(path)
    documents = [read_document(file) for file, _ in files]
    names, available = documents[0].joints, [found.joints for found in documents]
    if any(set(other) != set(names) for other in available):
        raise DataError(
            f"{path}: the files have different key points, {available}; pass one of them"
        )
    joints, _ = select_joints(names, selected, str(files[0][0]))
    samples: list[Sample] = []
    for (file, part), found in zip(files, documents, strict=True):
        samples.extend(_samples(root, file, part, found, joints))
    return Dataset(
        name=root.resolve().name if path.is_dir() else path.stem,
        joints=joints,
        samples=keep_labelled(samples, path),
        limits="People are cut out by their labelled boxes, which a user has not got; errors are "
        "in pixels, whatever the person's size.",
        size=(128, 128),
    )


def _samples(
    root: Path, file: Path, part: Literal["train", "test"] | None, found: Document, joints: Joints
) -> Iterator[Sample]:
    columns = [found.joints.index(joint) for joint in joints]
    folders = _folders(root, file)
    boxless: dict[Any, str] = {}
    for where, annotation, image in found.annotations:
        points = _points(annotation, len(found.joints), where)[columns]
        if np.isnan(points).all():
            continue
        box = _box(annotation, where)
        if box is None and boxless.setdefault(image["id"], where) != where:
            raise DataError(
                f"{where}: several people are labelled in this image (see {boxless[image['id']]}) "
                "without a bbox; add one to each"
            )
        path = paths.find(root, image["file_name"], folders, where)
        yield Sample(ImageFile(path), where, points, box, image["size"], part)


def _points(annotation: JsonObject, count: int, where: str) -> Points:
    values = parse_numbers(annotation, "keypoints", 3 * count, where).reshape(count, 3)
    if not np.isin(values[:, 2], (0, 1, 2)).all():
        raise DataError(f"{where}: v should be 0, 1 or 2, not {sorted(set(values[:, 2].tolist()))}")
    return np.where(values[:, 2:] > 0, values[:, :2], np.nan)


def _box(annotation: JsonObject, where: str) -> tuple[float, float, float, float] | None:
    if annotation.get("bbox") is None:
        return None
    left, top, width, height = parse_numbers(annotation, "bbox", 4, where).tolist()
    if width <= 0 or height <= 0:
        raise DataError(f"{where}: bbox should have a positive width and height; correct it")
    across, down = width * (MARGIN - 1) / 2, height * (MARGIN - 1) / 2
    return left - across, top - down, left + width + across, top + height + down


def _folders(root: Path, file: Path) -> list[str]:
    """Return where images may be, such as val2017/ for person_keypoints_val2017.json."""
    split = file.stem.rpartition("_")[2]
    beside = file.parent.relative_to(root)
    folders = (split, f"images/{split}", "images", "", str(beside), str(beside / "images"))
    return list(dict.fromkeys(folders))


def _files(path: Path) -> tuple[Path, list[tuple[Path, Literal["train", "test"] | None]]]:
    """Return the data folder, and its annotation files with the part of each."""
    if path.is_file():
        return (path.parent.parent if path.parent.name == "annotations" else path.parent), [
            (path, None)
        ]
    files = [paths.resolve_inside(path, file, str(path)) for file in _candidates(path)]
    root = path.resolve()
    if len(files) == 1:
        return root, [(files[0], None)]
    train = [file for file in files if "train" in file.stem]
    test = [file for file in files if "val" in file.stem or "test" in file.stem]
    if len(files) != 2 or len(train) != 1 or len(test) != 1 or train == test:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{path} has several files with key points: {names}; pass one of them")
    return root, [(train[0], "train"), (test[0], "test")]


def _candidates(folder: Path) -> list[Path]:
    files = sorted({*folder.glob("*.json"), *folder.glob("annotations/*.json")})
    return [file for file in files if "keypoints" in file.name or _mentions_key_points(file)]


def _mentions_key_points(file: Path) -> bool:
    """Search the file's beginning or end for the categories; the file may have hundreds of MB."""
    try:
        with opened(file) as stream:
            start = stream.read(PEEK_BYTES)
            stream.seek(max(0, file.stat().st_size - PEEK_BYTES))
            return b'"keypoints"' in start or b'"keypoints"' in stream.read()
    except OSError:
        return False


def _recognises(path: Path) -> bool:
    return bool(_candidates(path)) if path.is_dir() else path.suffix.lower() == ".json"


FORMAT = Format("COCO key points (person_keypoints_*.json), or their folder", _recognises, read)

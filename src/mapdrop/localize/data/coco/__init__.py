"""Read COCO key points: person_keypoints_*.json, and the images in a folder beside it.

Each annotation with labelled key points is a sample: the image cropped to the annotation's box; see
`boxes`. Crowds (`iscrowd`) are left out. A key point with v = 0 is missing, whatever its x and
y are. Every other v, be it 1, labelled but hidden, or a confidence, counts like v = 2, as in COCO's
own metric.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.coco import files as coco_files
from mapdrop.localize.data.coco.boxes import Label, find_boxes
from mapdrop.localize.data.coco.document import (
    Annotation,
    Document,
    parse_numbers,
    read_document,
)
from mapdrop.localize.data.dataset import Dataset, Format, Joints, Points, Sample
from mapdrop.localize.data.image_files import ImageFile
from mapdrop.localize.data.joints import select_joints
from mapdrop.localize.data.left_out import phrases

BOXED = (
    "People are cut out by their labelled boxes, which a user has not got; errors are in pixels, "
    "whatever the person's size."
)
UNBOXED = "No box says where the thing is, so images are used whole."


def read(path: Path, selected: Joints | None = None) -> Dataset:
    """Read the annotated people of one file, or of a folder's training and other files.

    Raises:
        DataError: for anything missing or malformed; it names the file, annotation and remedy.
    """
    root, files = coco_files.find(path)
    documents = [read_document(file) for file, _ in files]
    names, available = documents[0].joints, [found.joints for found in documents]
    if any(set(other) != set(names) for other in available):
        raise DataError(
            f"{path}: the files have different key points, {available}; pass one of them"
        )
    joints, _ = select_joints(names, selected, str(files[0][0]))
    samples: list[Sample] = []
    find, left_out = paths.Finder(root), Counter[str]()
    for (file, part), found in zip(files, documents, strict=True):
        every = _labels(found)
        columns = [found.joints.index(joint) for joint in joints]
        labelled = [
            label._replace(points=label.points[columns])
            for label in every
            if not np.isnan(label.points[columns]).all()
        ]
        samples.extend(_samples(find, file, part, labelled))
        left_out.update(found.left_out)
        left_out["without a labelled key point"] += len(every) - len(labelled)
    return Dataset(
        name=root.resolve().name if path.is_dir() else path.stem,
        joints=joints,
        samples=tuple(samples),
        limits=BOXED if any(sample.box for sample in samples) else UNBOXED,
        size=(128, 128),
        left_out=phrases(left_out, "annotation"),
    )


def _labels(found: Document) -> list[Label]:
    labels = [
        Label(annotation, _points(annotation, found.joints)) for annotation in found.annotations
    ]
    return list(_joined(labels, found.joints)) if found.is_split else labels


def _points(annotation: Annotation, joints: Joints) -> Points:
    where, names = annotation.where, annotation.joints
    values = parse_numbers(annotation.record, "keypoints", 3 * len(names), where)
    xy, v = np.split(values.reshape(-1, 3), [2], axis=1)
    if not (v >= 0).all():
        raise DataError(f"{where}: v should be 0 if missing, or more, not {v.min():g}; correct it")
    if not np.isfinite(xy[v[:, 0] > 0]).all():
        raise DataError(
            f"{where}: keypoints holds a number that isn't finite; correct it, or set its v to 0"
        )
    points = np.full((len(joints), 2), np.nan)
    points[[joints.index(name) for name in names]] = np.where(v > 0, xy, np.nan)
    return points


def _joined(labels: Iterable[Label], joints: Joints) -> Iterator[Label]:
    """Join the annotations of each image, which are one point each, to one without a box."""
    images: dict[int | str, list[Label]] = {}
    for label in labels:
        images.setdefault(label.annotation.image["id"], []).append(label)
    for first, *others in images.values():
        points = first.points.copy()
        for other in others:
            both = ~np.isnan(points).any(axis=1) & ~np.isnan(other.points).any(axis=1)
            if both.any():
                raise DataError(
                    f"{other.annotation.where}: the image has {joints[both.argmax()]!r} in an "
                    "earlier annotation already; keep one"
                )
            points = np.fmax(points, other.points)
        yield Label(first.annotation._replace(record={}), points)


def _samples(
    find: paths.Finder, file: Path, part: coco_files.Part | None, labels: list[Label]
) -> Iterator[Sample]:
    folders = coco_files.image_folders(find.root, file)
    boxless: dict[int | str, str] = {}
    for (annotation, points), box in zip(labels, find_boxes(labels), strict=True):
        where, _, image, _ = annotation
        if box is None and boxless.setdefault(image["id"], where) != where:
            raise DataError(
                f"{where}: several people are labelled in this image (see {boxless[image['id']]}) "
                "without a bbox that has a size; add one to each"
            )
        name = image["file_name"]
        yield Sample(ImageFile(find(name, folders, where)), where, points, box, image["size"], part)


def _recognises(path: Path) -> bool:
    return coco_files.has_any(path) if path.is_dir() else path.suffix.lower() == ".json"


FORMAT = Format("COCO key points (person_keypoints_*.json), or their folder", _recognises, read)

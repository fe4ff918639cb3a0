"""Find the files of a COCO data set, the part that each is, and where its images may be.

annotations/person_keypoints_train2017.json, train2017/         the original, and CVAT
train/_annotations.coco.json, train/, valid/, test/             Roboflow
result.json, images/                                            Label Studio
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.system.files import opened

Part = Literal["train", "test"]

KINDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""The words in a file's or folder's name that say what it is for."""
FOLDERS = ("annotations", "train", "val", "valid", "validation", "test")
"""Where the files are, if not in the data folder itself."""
PEEK_BYTES = 1 << 18


def find(path: Path) -> tuple[Path, list[tuple[Path, Part | None]]]:
    """Return the data folder, and its annotation files with the part of each.

    A single file has no part. If there are validation and test files, both training and validation
    images are for training, from which those that validate are chosen. Without a test file, the
    validation images are for testing, as in COCO.

    Raises:
        DataError: when the parts aren't clear.
    """
    if not path.is_dir():
        above = path.parent
        return above.parent if above.name == "annotations" else above, [(path, None)]
    files = [paths.resolve_inside(path, file, str(path)) for file in _candidates(path)]
    root = path.resolve()
    if len(files) == 1:
        return root, [(files[0], None)]
    kinds = [_kind(root, file) for file in files]
    if None in kinds or len(set(kinds)) < len(kinds):
        names = ", ".join(str(file.relative_to(root)) for file in files)
        raise DataError(f"{path} has several files with key points: {names}; pass one of them")
    parts: dict[str | None, Part] = {"train": "train", "val": "test", "test": "test"}
    if "test" in kinds:
        parts["val"] = "train"
    return root, [(file, parts[kind]) for kind, file in zip(kinds, files, strict=True)]


def image_folders(root: Path, file: Path) -> list[str]:
    """Return where images may be, such as val2017/ for person_keypoints_val2017.json."""
    split = file.stem.rpartition("_")[2]
    beside = file.parent.relative_to(root)
    own, common = (str(beside), str(beside / "images")), (split, f"images/{split}", "images", "")
    folders = (*common, *own) if beside.name == "annotations" else (*own, *common)
    return list(dict.fromkeys(folders))


def has_any(folder: Path) -> bool:
    """Return whether a folder has a file of annotations."""
    return bool(_candidates(folder))


def _kind(root: Path, file: Path) -> str | None:
    """Return what the file is for, according to its folder or to its own name."""
    is_part = file.parent != root and file.parent.name.lower() in FOLDERS[1:]
    name = (file.parent.name if is_part else file.stem).lower()
    kinds = {KINDS[word] for word in re.findall("[a-z]+", name) if word in KINDS}
    return kinds.pop() if len(kinds) == 1 else None


def _candidates(folder: Path) -> list[Path]:
    places = [place for place in sorted(folder.glob("*")) if place.name.lower() in FOLDERS]
    files = [file for place in (folder, *places) for file in sorted(place.glob("*.json"))]
    return [
        file
        for file in files
        if not paths.is_hidden(file) and ("keypoints" in file.name or _mentions_key_points(file))
    ]


def _mentions_key_points(file: Path) -> bool:
    """Search the file's beginning or end for the categories; the file may have hundreds of MB."""
    try:
        with opened(file) as stream:
            start = stream.read(PEEK_BYTES)
            stream.seek(max(0, file.stat().st_size - PEEK_BYTES))
            return b'"keypoints"' in start or b'"keypoints"' in stream.read()
    except OSError:
        return False

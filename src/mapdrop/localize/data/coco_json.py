"""The JSON of a COCO key point file, with every part of it that is used checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Joints
from mapdrop.system.files import content

Record = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    """What is used of a file.

    Attributes:
        joints: K names.
        annotations: where it stands, the annotation, and its image (id, file_name, size).
    """

    joints: Joints
    annotations: list[tuple[str, Record, Record]]


def document(file: Path) -> Document:
    """The annotations of one file that have key points and aren't crowds.

    Raises:
        DataError: when it's no COCO key point file, with the place and the remedy.
    """
    whole = _parsed(file)
    kinds, joints = _categories(whole["categories"], file)
    images = {image["id"]: image for image in _images(whole["images"], file)}
    annotations, seen = [], set()
    for number, annotation in enumerate(whole["annotations"]):
        where = f"{file}: annotation {_id(annotation, f'{file}: annotations[{number}]')}"
        if annotation["id"] in seen:
            raise DataError(f"{where} occurs twice; keep one, or number them anew")
        seen.add(annotation["id"])
        if _lookup(annotation, "category_id", kinds, where) and not annotation.get("iscrowd"):
            image = _lookup(annotation, "image_id", images, where)
            annotations.append((where, annotation, image))
    return Document(joints, annotations)


def numbers(record: Record, name: str, count: int, where: str) -> npt.NDArray[np.float64]:
    """A list of so many finite numbers, (count,).

    Raises:
        DataError: when it holds anything else.
    """
    values = record.get(name)
    right = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not right or len(values or []) != count:
        found = f"{len(values)} values" if isinstance(values, list) else "none"
        raise DataError(f"{where}: {name} should be {count} numbers, found {found}: {values!r:.60}")
    try:
        found_numbers = np.array([float(value) for value in values or []])
    except OverflowError:
        found_numbers = np.array([np.inf])
    if not np.isfinite(found_numbers).all():
        raise DataError(f"{where}: {name} holds a number that isn't finite; correct it")
    return found_numbers


def _parsed(file: Path) -> dict[str, list[Record]]:
    try:
        whole = json.loads(content(file).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not JSON in UTF-8: {error}; save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{file} can't be read: {error}") from error
    except (ValueError, RecursionError) as error:
        cut = "empty" if not file.stat().st_size else f"not whole JSON: {error}"
        raise DataError(f"{file} is {cut}; copy or export it again") from error
    expected = ("images", "annotations", "categories")
    if not isinstance(whole, dict) or any(name not in whole for name in expected):
        found = ", ".join(map(str, whole))[:80] if isinstance(whole, dict) else "a bare "
        found += "" if isinstance(whole, dict) else type(whole).__name__
        raise DataError(
            f"{file}: expected COCO key points (an object with {', '.join(expected)}), found "
            f"{found}; pass a person_keypoints_*.json"
        )
    for name in expected:
        if not isinstance(whole[name], list) or not all(isinstance(x, dict) for x in whole[name]):
            raise DataError(f"{file}: {name} should be a list of objects; export it again")
    return {name: whole[name] for name in expected}


def _categories(categories: list[Record], file: Path) -> tuple[dict[int | str, bool], Joints]:
    """Of each category whether it has key points, and the names of these."""
    kinds: dict[int | str, bool] = {}
    joints: Joints | None = None
    for number, category in enumerate(categories):
        where = f"{file}: category {_id(category, f'{file}: categories[{number}]')}"
        names = category.get("keypoints")
        kinds[category["id"]] = bool(names)
        if not names:
            continue
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{where}: keypoints should be a list of names, not {names!r:.60}")
        if joints not in (None, tuple(names)):
            raise DataError(f"{where} has other key points than those before; keep one kind a file")
        joints = tuple(names)
    if joints is None:
        raise DataError(
            f"{file}: no category has key points, so these are other annotations (instances?); "
            "pass a person_keypoints_*.json"
        )
    return kinds, joints


def _images(images: list[Record], file: Path) -> list[Record]:
    seen: set[Any] = set()
    found = []
    for number, image in enumerate(images):
        where = f"{file}: image {_id(image, f'{file}: images[{number}]')}"
        if image["id"] in seen:
            raise DataError(f"{where} occurs twice; keep one, or number them anew")
        seen.add(image["id"])
        if not isinstance(image.get("file_name"), str):
            raise DataError(
                f"{where}: file_name should be text, not {image.get('file_name')!r:.60}"
            )
        found.append({"id": image["id"], "file_name": image["file_name"], "size": _size(image)})
    return found


def _size(image: Record) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return (width, height) if type(width) is int and type(height) is int else None


def _id(record: Record, where: str) -> int | str:
    number = record.get("id")
    if type(number) is not int and type(number) is not str:
        raise DataError(f"{where}: id should be a number, not {number!r:.40}; export it again")
    return number


def _lookup(record: Record, name: str, known: dict[int | str, T], where: str) -> T:
    key = record.get(name)
    if type(key) not in (int, str) or key not in known:
        raise DataError(f"{where}: {name} is {key!r:.40}, which the file doesn't define; add it")
    return known[key]

"""Read the JSON of a COCO key point file, and check every part that is used."""

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

JsonObject = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    """The contents of a COCO key point file.

    Attributes:
        joints: K names.
        annotations: each one's position, the annotation, and its image (id, file_name, size).
    """

    joints: Joints
    annotations: list[tuple[str, JsonObject, JsonObject]]


def read_document(file: Path) -> Document:
    """Read the annotations of one file that have key points and aren't crowds.

    Raises:
        DataError: when it isn't a COCO key point file; it names the position and the remedy.
    """
    parsed = _parsed(file)
    has_key_points, joints = _categories(parsed["categories"], file)
    images = {image["id"]: image for image in _images(parsed["images"], file)}
    annotations, seen = [], set()
    for number, annotation in enumerate(parsed["annotations"]):
        where = f"{file}: annotation {_id(annotation, f'{file}: annotations[{number}]')}"
        if annotation["id"] in seen:
            raise DataError(f"{where} occurs twice; keep one, or renumber them")
        seen.add(annotation["id"])
        is_used = _lookup(annotation, "category_id", has_key_points, where)
        if is_used and not annotation.get("iscrowd"):
            image = _lookup(annotation, "image_id", images, where)
            annotations.append((where, annotation, image))
    return Document(joints, annotations)


def parse_numbers(record: JsonObject, name: str, count: int, where: str) -> npt.NDArray[np.float64]:
    """Return a field that is a list of finite numbers, (count,).

    Raises:
        DataError: when it is anything else.
    """
    values = record.get(name)
    are_numbers = isinstance(values, list) and all(type(x) in (int, float) for x in values)
    if not are_numbers or len(values or []) != count:
        found = f"{len(values)} values" if isinstance(values, list) else "none"
        raise DataError(f"{where}: {name} should be {count} numbers, found {found}: {values!r:.60}")
    try:
        numbers = np.array([float(value) for value in values or []])
    except OverflowError:
        numbers = np.array([np.inf])
    if not np.isfinite(numbers).all():
        raise DataError(f"{where}: {name} holds a number that isn't finite; correct it")
    return numbers


def _parsed(file: Path) -> dict[str, list[JsonObject]]:
    try:
        parsed = json.loads(content(file).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not JSON in UTF-8: {error}; save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{file} can't be read: {error}") from error
    except (ValueError, RecursionError) as error:
        fault = "empty" if not file.stat().st_size else f"not complete JSON: {error}"
        raise DataError(f"{file} is {fault}; copy or export it again") from error
    expected = ("images", "annotations", "categories")
    if not isinstance(parsed, dict) or any(name not in parsed for name in expected):
        is_object = isinstance(parsed, dict)
        found = ", ".join(map(str, parsed))[:80] if is_object else f"a {type(parsed).__name__}"
        raise DataError(
            f"{file}: expected COCO key points (an object with {', '.join(expected)}), found "
            f"{found}; pass a person_keypoints_*.json"
        )
    for name in expected:
        if not isinstance(parsed[name], list) or not all(isinstance(x, dict) for x in parsed[name]):
            raise DataError(f"{file}: {name} should be a list of objects; export it again")
    return {name: parsed[name] for name in expected}


def _categories(categories: list[JsonObject], file: Path) -> tuple[dict[int | str, bool], Joints]:
    """Return which categories have key points, and the key points' names."""
    has_key_points: dict[int | str, bool] = {}
    joints: Joints | None = None
    for number, category in enumerate(categories):
        where = f"{file}: category {_id(category, f'{file}: categories[{number}]')}"
        names = category.get("keypoints")
        has_key_points[category["id"]] = bool(names)
        if not names:
            continue
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{where}: keypoints should be a list of names, not {names!r:.60}")
        if joints not in (None, tuple(names)):
            raise DataError(
                f"{where} has other key points than the categories before it; keep one kind in a "
                "file"
            )
        joints = tuple(names)
    if joints is None:
        raise DataError(
            f"{file}: no category has key points, so its annotations are of another kind "
            "(instances?); pass a person_keypoints_*.json"
        )
    return has_key_points, joints


def _images(images: list[JsonObject], file: Path) -> list[JsonObject]:
    seen: set[Any] = set()
    found = []
    for number, image in enumerate(images):
        where = f"{file}: image {_id(image, f'{file}: images[{number}]')}"
        if image["id"] in seen:
            raise DataError(f"{where} occurs twice; keep one, or renumber them")
        seen.add(image["id"])
        if not isinstance(image.get("file_name"), str):
            raise DataError(
                f"{where}: file_name should be text, not {image.get('file_name')!r:.60}"
            )
        found.append({"id": image["id"], "file_name": image["file_name"], "size": _size(image)})
    return found


def _size(image: JsonObject) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return (width, height) if type(width) is int and type(height) is int else None


def _id(record: JsonObject, where: str) -> int | str:
    number = record.get("id")
    if type(number) is not int and type(number) is not str:
        raise DataError(f"{where}: id should be a number, not {number!r:.40}; export it again")
    return number


def _lookup(record: JsonObject, name: str, known: dict[int | str, T], where: str) -> T:
    key = record.get(name)
    if type(key) not in (int, str) or key not in known:
        raise DataError(f"{where}: {name} is {key!r:.40}, which the file doesn't define; add it")
    return known[key]

"""Read the JSON of a COCO key point file, and check every part that is used."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.coco.categories import JsonObject, read_categories, record_id
from mapdrop.localize.data.dataset import Joints
from mapdrop.system.files import content

T = TypeVar("T")


class Annotation(NamedTuple):
    """A checked annotation.

    Attributes:
        where: its position, for messages.
        record: the annotation itself.
        image: its image (id, file_name, size).
        joints: the names of its key points.
    """

    where: str
    record: JsonObject
    image: JsonObject
    joints: Joints


@dataclass(frozen=True)
class Document:
    """The contents of a COCO key point file.

    Attributes:
        joints: K names.
        annotations: those with key points that aren't crowds.
        is_split: whether each category is one key point, so that all annotations of an image
            together are one sample.
        left_out: number of annotations left out for each reason.
    """

    joints: Joints
    annotations: list[Annotation]
    is_split: bool
    left_out: Counter[str]


def read_document(file: Path) -> Document:
    """Read the annotations of one file that have key points and aren't crowds.

    Raises:
        DataError: when it isn't a COCO key point file; it names the position and the remedy.
    """
    parsed = _parsed(file)
    categories = read_categories(parsed["categories"], parsed["annotations"], file)
    images = {image["id"]: image for image in _images(parsed["images"], file)}
    annotations, seen, left_out = [], set(), Counter[str]()
    for number, record in enumerate(parsed["annotations"]):
        where = f"{file}: annotation {record_id(record, f'{file}: annotations[{number}]')}"
        if record["id"] in seen:
            raise DataError(f"{where} occurs twice; keep one, or renumber them")
        seen.add(record["id"])
        joints = _lookup(record, "category_id", categories.key_points, where)
        if not joints:
            left_out["of categories without key points"] += 1
        elif record.get("iscrowd"):
            left_out["of crowds"] += 1
        elif record.get("keypoints") in (None, []):
            left_out["without key points"] += 1
        else:
            image = _lookup(record, "image_id", images, where)
            annotations.append(Annotation(where, record, image, joints))
    return Document(categories.joints, annotations, categories.is_split, left_out)


def parse_numbers(record: JsonObject, name: str, count: int, where: str) -> npt.NDArray[np.float64]:
    """Return a field that is a list of numbers, (count,); null is NaN.

    Raises:
        DataError: when it is anything else.
    """
    values = record.get(name)
    are_numbers = isinstance(values, list) and all(
        value is None or type(value) in (int, float) for value in values
    )
    if not are_numbers or len(values or []) != count:
        found = f"{len(values)} values" if isinstance(values, list) else "none"
        raise DataError(f"{where}: {name} should be {count} numbers, found {found}: {values!r:.60}")
    return np.array([_to_float(value) for value in values or []])


def _to_float(value: float | None) -> float:
    try:
        return np.nan if value is None else float(value)
    except OverflowError:
        return np.inf


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


def _images(images: list[JsonObject], file: Path) -> list[JsonObject]:
    seen: set[Any] = set()
    found = []
    for number, image in enumerate(images):
        where = f"{file}: image {record_id(image, f'{file}: images[{number}]')}"
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
    """Return (width, height); some tools write 0 or null for what they don't know."""
    width, height = image.get("width"), image.get("height")
    if not (type(width) is int and type(height) is int and width > 0 and height > 0):
        return None
    return width, height


def _lookup(record: JsonObject, name: str, known: dict[int | str, T], where: str) -> T:
    key = record.get(name)
    if type(key) not in (int, str) or key not in known:
        raise DataError(f"{where}: {name} is {key!r:.40}, which the file doesn't define; add it")
    return known[key]

"""Read which categories of a COCO file have which key points.

Usually a category is a kind of animal or thing, and lists its key points. Some tools make a
category of each key point instead: it lists only itself, or nothing, and its annotations have one
point each. Its name is then the key point's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Joints

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Categories:
    """The categories of a file.

    Attributes:
        joints: K names of the file's key points.
        key_points: by a category's id, the names of its key points; none if it has none.
        is_split: whether each category is one of the key points.
    """

    joints: Joints
    key_points: dict[int | str, Joints]
    is_split: bool


def read_categories(
    categories: list[JsonObject], annotations: list[JsonObject], file: Path
) -> Categories:
    """Return the key points of each category.

    Raises:
        DataError: when there are none, or several lists of them.
    """
    key_points: dict[int | str, Joints] = {}
    names: dict[int | str, Any] = {}
    for number, category in enumerate(categories):
        where = f"{file}: category {record_id(category, f'{file}: categories[{number}]')}"
        key_points[category["id"]] = _key_points(category, where)
        names[category["id"]] = category.get("name")
    lists = list(dict.fromkeys(filter(None, key_points.values())))
    if len(lists) == 1:
        return Categories(lists[0], key_points, is_split=False)
    if any(len(joints) > 1 for joints in lists):
        found = " and ".join(", ".join(joints) for joints in lists)
        raise DataError(
            f"{file}: categories have different key points ({found:.200}); keep one kind in a file"
        )
    single = [category for category, joints in key_points.items() if joints]
    single = single or _pointed(key_points, annotations, file)
    joints = _own_names({category: names[category] for category in single}, file)
    key_points |= {category: (joint,) for category, joint in zip(single, joints, strict=True)}
    return Categories(joints, key_points, is_split=True)


def _key_points(category: JsonObject, where: str) -> Joints:
    names = category.get("keypoints") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: keypoints should be a list of names, not {names!r:.60}")
    return tuple(names)


def _pointed(
    categories: Iterable[int | str], annotations: list[JsonObject], file: Path
) -> list[int | str]:
    """Return the categories that have annotations of one point, where none lists key points."""
    points = [a for a in annotations if isinstance(a.get("keypoints"), list) and a["keypoints"]]
    if not points:
        raise DataError(
            f"{file}: no category has key points, so its annotations are of another kind "
            "(instances?); pass a person_keypoints_*.json"
        )
    if any(len(annotation["keypoints"]) != 3 for annotation in points):
        raise DataError(
            f"{file}: no category has key points, though annotations have; give the category a "
            'list "keypoints" of their names'
        )
    used = [annotation.get("category_id") for annotation in points]
    return [category for category in categories if category in used]


def _own_names(names: dict[int | str, Any], file: Path) -> Joints:
    """Return the names of categories that are key points themselves."""
    for category, name in names.items():
        if not isinstance(name, str) or list(names.values()).count(name) > 1:
            raise DataError(
                f"{file}: category {category} is a key point, so it needs a name of its own, not "
                f"{name!r:.40}; rename it"
            )
    return tuple(names.values())


def record_id(record: JsonObject, where: str) -> int | str:
    """Return the id of a category, an image or an annotation.

    Raises:
        DataError: when it has none.
    """
    number = record.get("id")
    if type(number) is not int and type(number) is not str:
        raise DataError(f"{where}: id should be a number, not {number!r:.40}; export it again")
    return number

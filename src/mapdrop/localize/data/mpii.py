"""MPII Human Pose (Andriluka et al., CVPR 2014): mpii_human_pose_v1_u12_1.mat and images/.

    RELEASE.annolist(i).image.name
    RELEASE.annolist(i).annorect(j)     one for each person: scale (of 200 pixels' height),
        .objpos.x, .y                   about the person's centre
        .annopoints.point(k)            x, y, id (0 to 15), is_visible
    RELEASE.img_train(i)                1 or 0; the points of the test images were never published

Any of these may be missing or []. Each person with points, a scale and a centre is a sample: the
square around the centre in which the field looks at this person. Joints without a point are
missing; one that is_visible calls hidden was labelled all the same, counts in the benchmark, and is
kept. MATLAB counts pixels from 1, here they count from 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mapdrop.localize.data import matlab, pictures
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Dataset, Format, Joints, Points, Sample, labelled
from mapdrop.localize.data.names import chosen

VARIABLE = "RELEASE"
JOINTS = (
    *("r ankle", "r knee", "r hip", "l hip", "l knee", "l ankle", "pelvis", "thorax"),
    *("upper neck", "head top", "r wrist", "r elbow", "r shoulder"),
    *("l shoulder", "l elbow", "l wrist"),
)
"""By id, as the data set's page names them."""
HEIGHT, MARGIN, LOWER = 200.0, 1.25, 15.0
"""The square's side is HEIGHT * MARGIN * scale, and lies LOWER * scale below objpos: the custom of
the hourglass network (Newell et al., ECCV 2016), so that feet are not cut off."""


def read(path: Path, asked: Joints | None = None) -> Dataset:
    """Every labelled person of the training images.

    Raises:
        DataError: for anything missing or malformed, with the file, the person and the remedy.
    """
    file, root, folders = matlab.find(path, VARIABLE)
    joints, ids = chosen(JOINTS, asked, str(file))
    release = matlab.struct(matlab.load(file, VARIABLE), f"{file}: {VARIABLE}")
    where = f"{file}: annolist"
    images = matlab.records(matlab.field(release, "annolist", f"{file}: {VARIABLE}"), where)
    samples: list[Sample] = []
    unplaced = 0
    for index, image in enumerate(images, start=1):
        people = _people(image, f"{where}({index})")
        if people:
            picture = _picture(image, f"{where}({index})", root, folders)
        for place, person in people:
            if any(matlab.absent(person, name) for name in ("scale", "objpos")):
                unplaced += 1
                continue
            points = _points(person, place)[ids]
            samples.append(Sample(picture, place, points, box=_box(person, place)))
    left_out = f" {unplaced} people without a scale or a centre are left out." if unplaced else ""
    return Dataset(
        name=root.resolve().name,
        joints=joints,
        samples=labelled(samples, file),
        limits="People are cut out by their labelled scale and centre, which a user has not got; "
        f"errors are in pixels, whatever the person's size.{left_out}",
        size=(128, 128),
        outside_is_missing=True,
    )


def _people(image: matlab.Record, where: str) -> list[tuple[str, matlab.Record]]:
    """The people of an image that have points, and where they stand."""
    if matlab.absent(image, "annorect"):
        return []
    return [
        (f"{where}.annorect({number})", person)
        for number, person in enumerate(matlab.records(image["annorect"], f"{where}.annorect"), 1)
        if not matlab.absent(person, "annopoints")
    ]


def _picture(image: matlab.Record, where: str, root: Path, folders: list[str]) -> Path:
    named = matlab.struct(matlab.field(image, "image", where), f"{where}.image")
    return pictures.find(root, matlab.text(named, "name", f"{where}.image"), folders, where)


def _points(person: matlab.Record, where: str) -> Points:
    points = np.full((len(JOINTS), 2), np.nan)
    holder = matlab.struct(person["annopoints"], f"{where}.annopoints")
    for number, point in enumerate(matlab.records(holder.get("point", []), where), start=1):
        place = f"{where}.annopoints.point({number})"
        joint = matlab.number(point, "id", place)
        if joint not in range(len(JOINTS)):
            raise DataError(f"{place}: id should be 0 to {len(JOINTS) - 1}, not {joint:g}")
        if not np.isnan(points[int(joint)]).all():
            raise DataError(f"{place}: {JOINTS[int(joint)]!r} has a point already; keep one")
        points[int(joint)] = [matlab.number(point, axis, place) - 1 for axis in ("x", "y")]
    return points


def _box(person: matlab.Record, where: str) -> tuple[float, float, float, float]:
    scale = matlab.number(person, "scale", where)
    if scale <= 0:
        raise DataError(f"{where}: scale should be positive, not {scale:g}")
    centre = matlab.struct(person["objpos"], f"{where}.objpos")
    x, y = (matlab.number(centre, axis, f"{where}.objpos") - 1 for axis in ("x", "y"))
    y, half = y + LOWER * scale, HEIGHT * MARGIN * scale / 2
    return x - half, y - half, x + half, y + half


def _recognises(path: Path) -> bool:
    return bool(matlab.files(path, VARIABLE))


FORMAT = Format("MPII's mpii_human_pose_*.mat, or its folder", _recognises, read)

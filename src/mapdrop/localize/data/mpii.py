"""Read MPII Human Pose (Andriluka et al., CVPR 2014): mpii_human_pose_v1_u12_1.mat and images/.

    RELEASE.annolist(i).image.name
    RELEASE.annolist(i).annorect(j)     one for each person: scale (height / 200 pixels),
        .objpos.x, .y                   the person's approximate centre
        .annopoints.point(k)            x, y, id (0 to 15), is_visible
    RELEASE.img_train(i)                1 or 0; the points of the test images were never published

Any of these may be missing or []. Each person with points, a scale and a centre is a sample: the
customary square crop around the centre. Joints without a point are missing. A joint that is_visible
marks as hidden is labelled and counts in the benchmark, so it is kept. MATLAB counts pixels from 1;
here they count from 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mapdrop.localize.data import matlab, paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Dataset, Format, Joints, Points, Sample
from mapdrop.localize.data.image_files import ImageFile
from mapdrop.localize.data.joints import select_joints
from mapdrop.localize.data.left_out import phrases

VARIABLE = "RELEASE"
JOINTS = (
    *("r ankle", "r knee", "r hip", "l hip", "l knee", "l ankle", "pelvis", "thorax"),
    *("upper neck", "head top", "r wrist", "r elbow", "r shoulder"),
    *("l shoulder", "l elbow", "l wrist"),
)
"""The joints by id, named as on the data set's page."""
HEIGHT, MARGIN, LOWER = 200.0, 1.25, 15.0
"""The square's side is HEIGHT * MARGIN * scale; its centre is LOWER * scale below objpos: the
convention of the hourglass network (Newell et al., ECCV 2016), which keeps the feet."""


def read(path: Path, selected: Joints | None = None) -> Dataset:
    """Read every labelled person of the training images.

    Raises:
        DataError: for anything missing or malformed; it names the file, the person and the remedy.
    """
    file, root, folders = matlab.find(path, VARIABLE)
    joints, ids = select_joints(JOINTS, selected, str(file))
    release = matlab.struct(matlab.load(file, VARIABLE), f"{file}: {VARIABLE}")
    where = f"{file}: annolist"
    images = matlab.struct_array(matlab.field(release, "annolist", f"{file}: {VARIABLE}"), where)
    find, samples = paths.Finder(root), list[Sample]()
    incomplete = 0
    for index, image in enumerate(images, start=1):
        people = _people(image, f"{where}({index})")
        if people:
            image_file = _image_file(image, find, folders, f"{where}({index})")
        for position, person in people:
            if any(matlab.absent(person, name) for name in ("scale", "objpos")):
                incomplete += 1
                continue
            points = _points(person, position)[ids]
            samples.append(Sample(image_file, position, points, box=_box(person, position)))
    return Dataset(
        name=root.resolve().name,
        joints=joints,
        samples=tuple(samples),
        limits="People are cut out by their labelled scale and centre, which a user has not got; "
        "errors are in pixels, whatever the person's size.",
        size=(128, 128),
        outside_is_missing=True,
        left_out=phrases({"without a scale or a centre": incomplete}, "annotation"),
    )


def _people(image: matlab.Struct, where: str) -> list[tuple[str, matlab.Struct]]:
    """Return the people of an image that have points, with their positions in the file."""
    if matlab.absent(image, "annorect"):
        return []
    return [
        (f"{where}.annorect({number})", person)
        for number, person in enumerate(
            matlab.struct_array(image["annorect"], f"{where}.annorect"), 1
        )
        if not matlab.absent(person, "annopoints")
    ]


def _image_file(
    image: matlab.Struct, find: paths.Finder, folders: list[str], where: str
) -> ImageFile:
    named = matlab.struct(matlab.field(image, "image", where), f"{where}.image")
    name = matlab.text(named, "name", f"{where}.image")
    return ImageFile(find(name, folders, where))


def _points(person: matlab.Struct, where: str) -> Points:
    points = np.full((len(JOINTS), 2), np.nan)
    holder = matlab.struct(person["annopoints"], f"{where}.annopoints")
    for number, point in enumerate(matlab.struct_array(holder.get("point", []), where), start=1):
        position = f"{where}.annopoints.point({number})"
        joint = matlab.number(point, "id", position)
        if joint not in range(len(JOINTS)):
            raise DataError(f"{position}: id should be 0 to {len(JOINTS) - 1}, not {joint:g}")
        if not np.isnan(points[int(joint)]).all():
            raise DataError(f"{position}: {JOINTS[int(joint)]!r} has a point already; keep one")
        points[int(joint)] = [matlab.number(point, axis, position) - 1 for axis in ("x", "y")]
    return points


def _box(person: matlab.Struct, where: str) -> tuple[float, float, float, float]:
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

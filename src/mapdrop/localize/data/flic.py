"""Read FLIC, Frames Labeled In Cinema (Sapp and Taskar, CVPR 2013): examples.mat and images/.

`examples` is a struct array with the fields poselet_hit_idx, moviename, coords, filepath, imgdims,
currframe, torsobox, istrain, istest. `coords` is 2 x 29, NaN for joints that aren't labelled; the
published file labels eleven. MATLAB counts pixels from 1; here they count from 0.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mapdrop.localize.data import matlab, paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Dataset, Format, Joints, Points, Sample
from mapdrop.localize.data.image_files import ImageFile
from mapdrop.localize.data.joints import select_joints
from mapdrop.localize.data.left_out import phrases

VARIABLE = "examples"
JOINTS = (
    *("lsho", "lelb", "lwri", "rsho", "relb", "rwri", "lhip", "lkne", "lank", "rhip", "rkne"),
    *("rank", "leye", "reye", "lear", "rear", "nose", "msho", "mhip", "mear", "mtorso", "mluarm"),
    *("mruarm", "mllarm", "mrlarm", "mluleg", "mruleg", "mllleg", "mrlleg"),
)
"""The columns of `coords`, named as in the authors' `lookupPart.m`."""


def read(path: Path, selected: Joints | None = None) -> Dataset:
    """Read the training and test examples; by default with every joint that is ever labelled.

    Raises:
        DataError: for anything missing or malformed; it names the file, the example and the remedy.
    """
    file, root, folders = matlab.find(path, VARIABLE)
    examples = matlab.struct_array(matlab.load(file, VARIABLE), f"{file}: {VARIABLE}")
    every, find, neither = [], paths.Finder(root), 0
    for index, example in enumerate(examples, start=1):
        where = f"{file}: examples({index})"
        part = _part(example, where)
        if part is None:
            neither += 1
        else:
            name = matlab.text(example, "filepath", where)
            every.append(
                Sample(
                    ImageFile(find(name, folders, where)),
                    where,
                    _points(example, where),
                    size=_size(example, where),
                    part=part,
                )
            )
    ever = np.any([np.isfinite(sample.points[:, 0]) for sample in every], axis=0)
    default = tuple(JOINTS[column] for column in np.flatnonzero(ever))
    joints, columns = select_joints(JOINTS, selected or default, str(file))
    cut = [replace(sample, points=sample.points[columns]) for sample in every]
    return Dataset(
        name=root.resolve().name,
        joints=joints,
        samples=tuple(cut),
        limits="Some frames show several people, and nothing says which of them is labelled.",
        outside_is_missing=True,
        left_out=phrases({"of neither training nor testing": neither}, "example"),
    )


def _part(example: matlab.Struct, where: str) -> Literal["train", "test"] | None:
    """Return an example's part; None for an example in neither, as FLIC-full has."""
    train, test = (bool(matlab.number(example, name, where)) for name in ("istrain", "istest"))
    if train and test:
        raise DataError(f"{where} is marked istrain and istest; clear one of them")
    return "train" if train else "test" if test else None


def _points(example: matlab.Struct, where: str) -> Points:
    coords = _numbers(example, "coords", where)
    if coords.shape != (2, len(JOINTS)):
        raise DataError(f"{where}: coords should be 2x{len(JOINTS)}, not {coords.shape}")
    with np.errstate(invalid="ignore"):  # A damaged NaN may be a signalling NaN.
        points: Points = coords.T - 1
    # A point with one coordinate is missing.
    points[~np.isfinite(points).all(axis=1)] = np.nan
    return points


def _size(example: matlab.Struct, where: str) -> tuple[int, int] | None:
    if matlab.absent(example, "imgdims"):
        return None
    dims = _numbers(example, "imgdims", where).reshape(-1)
    if len(dims) < 2 or not np.isfinite(dims).all():
        raise DataError(f"{where}: imgdims should be [height width 3], not {dims}")
    return int(dims[1]), int(dims[0])


def _numbers(example: matlab.Struct, name: str, where: str) -> Any:
    value = matlab.field(example, name, where)
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {name} should be numbers, not {value!r:.60}") from error


def _recognises(path: Path) -> bool:
    return bool(matlab.files(path, VARIABLE))


FORMAT = Format("FLIC's examples.mat, or its folder", _recognises, read)

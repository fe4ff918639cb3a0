"""Key-point data in any known format, behind one function.

`load` takes what a user calls the data and returns it in memory, split and at the working size;
`read` returns the labels of a folder or a file, whose pictures are opened one by one.
"""

from __future__ import annotations

from pathlib import Path

from mapdrop.localize.data import coco, deeplabcut, flic, matlab, mpii, scenes, table
from mapdrop.localize.data.base import DataError as DataError
from mapdrop.localize.data.base import KeypointData as KeypointData
from mapdrop.localize.data.base import Request as Request
from mapdrop.localize.data.check import ImagesError as ImagesError
from mapdrop.localize.data.check import Progress as Progress
from mapdrop.localize.data.check import check_images as check_images
from mapdrop.localize.data.dataset import Dataset as Dataset
from mapdrop.localize.data.dataset import Format as Format
from mapdrop.localize.data.dataset import Sample as Sample
from mapdrop.localize.data.fit import fit as fit
from mapdrop.localize.data.flips import swaps as swaps

FORMATS = (deeplabcut.FORMAT, coco.FORMAT, flic.FORMAT, mpii.FORMAT, table.FORMAT)
"""Every format on disk. A new one is a module and a place here."""

SHOWN = 12
"""Names of a folder's contents in a message."""


def load(
    data: str, request: Request | None = None, progress: Progress | None = None
) -> KeypointData:
    """Labelled pictures from `data`: "scenes", or a path of any known format.

    Raises:
        DataError: when no format recognises `data`, or the one that does can't use it.
        ImagesError: when pictures can't be used, with all of them.
    """
    request = request or Request()
    if data == "scenes":
        return scenes.load(request)
    return fit(read(data, request.bodyparts), request, progress)


def read(data: str | Path, joints: tuple[str, ...] | None = None) -> Dataset:
    """The labels in a folder or a file; no picture is opened.

    Args:
        data: a path that `recognise` recognises.
        joints: names of the joints wanted, in this order. None is all.

    Raises:
        DataError: when no format recognises `data`, or the one that does can't use it.
    """
    return recognise(data).read(Path(data), joints)


def recognise(data: str | Path) -> Format:
    """The format of a folder or a file.

    Raises:
        DataError: when there's none, or more than one, with what was looked for and what is there.
    """
    path = Path(data)
    known = [candidate for candidate in FORMATS if path.exists() and candidate.recognises(path)]
    if len(known) == 1:
        return known[0]
    if known:
        several = " and ".join(candidate.looks_like for candidate in known)
        raise DataError(
            f"{str(data)!r} holds data of several kinds, {several}; pass the file meant"
        )
    choices = "; ".join(("scenes", *(candidate.looks_like for candidate in FORMATS)))
    raise DataError(f"{str(data)!r} is no data that I know: {_found(path)}. DATA can be: {choices}")


def _found(path: Path) -> str:
    if path.is_dir():
        names = sorted(
            f"{child.name}/" if child.is_dir() else child.name for child in path.iterdir()
        )
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return f"the folder holds {', '.join(names[:SHOWN])}{more}" if names else "it is empty"
    if not path.exists():
        return "there is no such file or folder"
    if path.suffix.lower() != ".mat":
        return "the file's name ends in none of .json, .mat, .csv"
    try:
        return f"the file's variables are {', '.join(matlab.variables(path)) or 'none'}"
    except DataError as error:
        return str(error)

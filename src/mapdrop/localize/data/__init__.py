"""Read key-point data in any known format.

`load` returns a data set in memory, split and at the working size. `read` returns the labels of a
folder or a file, and opens images one by one.
"""

from __future__ import annotations

from mapdrop.system.extras import require as _require

_require(__name__, "study", "PIL", "yaml")

from pathlib import Path

from mapdrop.localize.data import coco, deeplabcut, flic, matlab, mpii, sleap, table
from mapdrop.localize.data.base import DataError as DataError
from mapdrop.localize.data.base import KeypointData as KeypointData
from mapdrop.localize.data.base import LoadOptions as LoadOptions
from mapdrop.localize.data.check import ImagesError as ImagesError
from mapdrop.localize.data.check import ProgressCallback as ProgressCallback
from mapdrop.localize.data.check import check_images as check_images
from mapdrop.localize.data.check import only_existing, only_labelled
from mapdrop.localize.data.coordinates import in_units
from mapdrop.localize.data.dataset import Dataset as Dataset
from mapdrop.localize.data.dataset import Format as Format
from mapdrop.localize.data.dataset import Sample as Sample
from mapdrop.localize.data.flips import swaps as swaps
from mapdrop.localize.data.prepare import prepare as prepare

FORMATS = (deeplabcut.FORMAT, coco.FORMAT, flic.FORMAT, mpii.FORMAT, sleap.FORMAT, table.FORMAT)
"""The formats on disk. To add one, write a module and list it here."""

SHOWN = 12
"""Number of a folder's entries that a message lists."""


def load(
    data: str, options: LoadOptions | None = None, progress: ProgressCallback | None = None
) -> KeypointData:
    """Load labelled images from `data`: "scenes", or a path of any known format.

    Raises:
        DataError: when no format recognises `data`, or the format can't read it.
        ImagesError: when images can't be used; it lists all of them.
    """
    options = options or LoadOptions()
    if data == "scenes":
        from mapdrop.localize.data import scenes  # scikit-learn takes a second to import.

        return scenes.load(options)
    labels = read(data, options.bodyparts, options.coordinates, options.skip_missing)
    return prepare(labels, options, progress)


def read(
    data: str | Path,
    joints: tuple[str, ...] | None = None,
    coordinates: str | None = None,
    skip_missing: bool = False,
) -> Dataset:
    """Read the labels of a folder or a file, without opening an image.

    Args:
        data: a path that `recognise` recognises.
        joints: names of the joints to use, in this order. None means all.
        coordinates: "pixels" or "fractions" of the image's size; None asks where that is unclear.
        skip_missing: whether to leave out labels whose image does not exist.

    Raises:
        DataError: when no format recognises `data`, or the format can't read it.
    """
    dataset = only_labelled(recognise(data).read(Path(data), joints), Path(data))
    dataset = in_units(dataset, coordinates)
    return only_existing(dataset) if skip_missing else dataset


def recognise(data: str | Path) -> Format:
    """Return the format of a folder or a file.

    Raises:
        DataError: when no format matches, or several do; it says what was expected and found.
    """
    path = Path(data)
    known = [candidate for candidate in FORMATS if path.exists() and candidate.recognises(path)]
    if len(known) == 1:
        return known[0]
    if known:
        several = " and ".join(candidate.looks_like for candidate in known)
        raise DataError(f"{str(data)!r} matches several formats, {several}; pass the file itself")
    choices = "; ".join(("scenes", *(candidate.looks_like for candidate in FORMATS)))
    raise DataError(f"{str(data)!r} has no known format: {_describe(path)}. DATA can be: {choices}")


def _describe(path: Path) -> str:
    if path.is_dir():
        names = sorted(
            f"{child.name}/" if child.is_dir() else child.name for child in path.iterdir()
        )
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return f"the folder holds {', '.join(names[:SHOWN])}{more}" if names else "it is empty"
    if not path.exists():
        return "there is no such file or folder"
    if path.suffix.lower() != ".mat":
        return "the file's name ends in none of .json, .mat, .csv, .tsv, .txt, .slp"
    try:
        return f"the file's variables are {', '.join(matlab.variables(path)) or 'none'}"
    except DataError as error:
        return str(error)

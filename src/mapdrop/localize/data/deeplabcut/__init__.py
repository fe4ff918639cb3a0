"""Read DeepLabCut projects (Mathis et al. 2018): config.yaml, labeled-data/*/CollectedData_*.

DeepLabCut writes labels twice: as HDF5, from which it trains, and as CSV, for people to look at. So
the HDF5 counts where both exist and differ.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import (
    Dataset,
    Format,
    ImageSource,
    Joints,
    Sample,
)
from mapdrop.localize.data.deeplabcut.config import Config, Spellings, read_config
from mapdrop.localize.data.deeplabcut.table import Table, read_table
from mapdrop.localize.data.left_out import phrases

SUFFIXES = (".csv", ".h5")
SECONDS = 60
"""A label file is newer than another by more than this: copying takes some time, too."""

TOLERANCE = 0.01
"""Pixels by which points in two files of the same labels may differ: programs round."""

INSTALL = 'pip install "mapdrop[deeplabcut]"'


def read(path: Path, selected: Joints | None = None) -> Dataset:
    """Read the labelled frames of a project, given its folder or the config.yaml in it.

    Raises:
        DataError: for anything missing or malformed; it names the file, the row and the remedy.
    """
    root = path.parent if path.is_file() else path
    config = read_config(root)
    files = _files(root, config)
    tables = [read_table(_chosen(pair)) for pair in files]
    joints = selected or tuple(_spelled(part, tables[0]) for part in config.parts)
    find = paths.Finder(root)
    labels = [table.samples(find, joints) for table in tables]
    samples: dict[ImageSource, Sample] = {}
    for sample in chain(*labels):
        other = samples.setdefault(sample.image, sample)
        if other is not sample:
            raise DataError(
                f"{sample.where}: {sample.image.name} was labelled in {other.where} already; keep "
                "one of them"
            )
    return Dataset(
        name=root.resolve().name,
        joints=joints,
        samples=tuple(samples.values()),
        limits="Frames are split at random, so test frames come from the training frames' videos.",
        unit="pixels of the original frame",
        left_out=_left_out(root, files, labels, joints),
    )


def _files(root: Path, config: Config) -> list[dict[str, Path]]:
    """Return the label files of the project's scorer, or of all; each video's, by suffix.

    Raises:
        DataError: when there are none.
    """
    folder = root / "labeled-data"
    videos: dict[Path, dict[str, Path]] = {}
    for suffix in SUFFIXES:
        for file in folder.glob(f"*/CollectedData_*{suffix}"):
            inside = paths.resolve_inside(root, file, str(root))
            videos.setdefault(file.with_suffix(""), {})[suffix] = inside
    scorers = sorted({stem.name.removeprefix("CollectedData_") for stem in videos})
    wanted = (
        scorers if config.scorer is None else [name for name in scorers if name in config.scorer]
    )
    if wanted:
        stems = sorted(
            stem for stem in videos if stem.name.removeprefix("CollectedData_") in wanted
        )
        return [videos[stem] for stem in stems]
    name = f"CollectedData_{config.scorer[0] if config.scorer else '*'}"
    if scorers:
        raise DataError(
            f"{folder} has no */{name}.csv or .h5, but labels of {', '.join(scorers)}; correct "
            f"'scorer:' in {config.path}"
        )
    raise DataError(f"{folder} has no */{name}.csv or .h5; label frames in DeepLabCut, or copy it")


def _chosen(files: dict[str, Path]) -> Path:
    """Return the file that DeepLabCut trains from, or the CSV where it can't be read.

    Raises:
        DataError: when the CSV seems to be out of date.
    """
    table, h5 = map(files.get, SUFFIXES)
    if table is None or (h5 is not None and _has_h5py()):
        return h5 or files[".csv"]
    if h5 is not None and h5.stat().st_mtime > table.stat().st_mtime + SECONDS:
        raise DataError(
            f"{h5} is newer than {table.name}, and DeepLabCut trains from it; {INSTALL} to read "
            "it, or delete it if the .csv is right"
        )
    return table


def _spelled(part: Spellings, table: Table) -> str:
    """Return a body part's name as the labels have it."""
    return next((name for name in part if name in table.parts), part[0])


def _left_out(
    root: Path, files: list[dict[str, Path]], labels: list[list[Sample]], joints: Joints
) -> tuple[str, ...]:
    """Say which CSV files have other labels than were read, or which HDF5 files may have."""
    both = [(pair, read) for pair, read in zip(files, labels, strict=True) if len(pair) == 2]
    if not _has_h5py():
        return phrases({f"not compared with its .csv: {INSTALL}": len(both)}, ".h5 file")
    differing = sum(_differ(root, pair[".csv"], read, joints) for pair, read in both)
    why = (
        "with other labels than the .h5, from which DeepLabCut trains (deeplabcut.convertcsv2h5 "
        "makes it from the .csv)"
    )
    return phrases({why: differing}, ".csv file")


def _differ(root: Path, file: Path, labels: list[Sample], joints: Joints) -> bool:
    """Return whether a file has other labels than these, or none that can be read."""
    try:
        others = read_table(file).samples(paths.Finder(root), joints)
    except DataError:
        return True
    one, other = (
        {sample.image: sample.points for sample in some if not np.isnan(sample.points).all()}
        for some in (labels, others)
    )
    return one.keys() != other.keys() or not all(
        np.allclose(one[image], other[image], rtol=0, atol=TOLERANCE, equal_nan=True)
        for image in one
    )


def _has_h5py() -> bool:
    return find_spec("h5py") is not None


def _recognises(path: Path) -> bool:
    if path.is_file():
        return path.name == "config.yaml"
    return (path / "config.yaml").exists() or (path / "labeled-data").exists()


FORMAT = Format("a DeepLabCut project folder (config.yaml and labeled-data)", _recognises, read)

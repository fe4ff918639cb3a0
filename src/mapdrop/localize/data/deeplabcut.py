"""DeepLabCut projects: config.yaml and labeled-data/*/CollectedData_*.csv (Mathis et al. 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mapdrop.localize.data import pictures
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Dataset, Format, Joints, Sample, labelled
from mapdrop.localize.data.deeplabcut_csv import read_labels


def read(path: Path, asked: Joints | None = None) -> Dataset:
    """The labelled frames of all videos of a project (its folder, or the config.yaml in it).

    Raises:
        DataError: for anything missing or malformed, with the file, the line and the remedy.
    """
    root = path.parent if path.is_file() else path
    config = _config(root)
    joints = asked or _bodyparts(root, config)
    samples: dict[Path, Sample] = {}
    for table in _tables(root, config):
        for sample in read_labels(root, table, joints):
            if sample.image in samples:
                raise DataError(
                    f"{sample.where}: {sample.image.name} was labelled in "
                    f"{samples[sample.image].where} already; keep one of them"
                )
            samples[sample.image] = sample
    return Dataset(
        name=root.resolve().name,
        joints=joints,
        samples=labelled(list(samples.values()), root / "labeled-data"),
        limits="Frames are split at random, so test frames come from the training frames' videos.",
        unit="pixels of the original frame",
    )


def _config(root: Path) -> dict[str, Any]:
    path = root / "config.yaml"
    if not path.is_file():
        raise DataError(f"{path} is missing; pass the folder that DeepLabCut made, which has it")
    pictures.inside(root, path, str(root))
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(config, dict):
        raise DataError(f"{path} should hold settings such as 'bodyparts:', not {config!r:.40}")
    if config.get("multianimalproject"):
        raise DataError(f"{path}: projects with several animals aren't supported yet, only one")
    return config


def _bodyparts(root: Path, config: dict[str, Any]) -> tuple[str, ...]:
    parts = config.get("bodyparts")
    if not isinstance(parts, list) or not parts:
        raise DataError(f"{root / 'config.yaml'}: 'bodyparts:' should list the body parts' names")
    return tuple(str(part) for part in parts)


def _tables(root: Path, config: dict[str, Any]) -> list[Path]:
    """The label files of the project's scorer, or of anyone if it names none."""
    pattern = f"CollectedData_{config.get('scorer') or '*'}.csv"
    folder = root / "labeled-data"
    tables = sorted(folder.glob(f"*/{pattern}"))
    if not tables:
        raise DataError(f"{folder} has no */{pattern}; label frames in DeepLabCut, or copy it here")
    return [pictures.inside(root, table, str(root)) for table in tables]


def _recognises(path: Path) -> bool:
    if path.is_file():
        return path.name == "config.yaml"
    return (path / "config.yaml").exists() or (path / "labeled-data").exists()


FORMAT = Format("a DeepLabCut project folder (config.yaml and labeled-data)", _recognises, read)

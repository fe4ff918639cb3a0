"""DeepLabCut projects: config.yaml and labeled-data/*/CollectedData_*.csv (Mathis et al. 2018)."""

from __future__ import annotations

from pathlib import Path

import yaml

from mapdrop.localize.data import pictures
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Dataset, Format, Joints, Sample, labelled
from mapdrop.localize.data.deeplabcut_csv import read_labels
from mapdrop.system.files import content

MOST = 1 << 22
"""Bytes of a config.yaml that is read."""
YAML, PLAIN = "tag:yaml.org,2002:", ("bool", "float", "int", "str", "timestamp")
"""Tags of what is read as the text that it is."""


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


def _config(root: Path) -> dict[str, yaml.Node]:
    """The settings' nodes, by name: text as it stands, from which nothing has been made yet.

    A few hundred bytes of YAML can stand for gigabytes of lists, and what looks like a date or a
    number need not be one.
    """
    path = root / "config.yaml"
    if not path.is_file():
        raise DataError(f"{path} is missing; pass the folder that DeepLabCut made, which has it")
    pictures.inside(root, path, str(root))
    try:
        whole = yaml.compose(content(path, MOST).decode(), yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not valid YAML: {error}; correct it") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error}") from error
    if not isinstance(whole, yaml.MappingNode):
        raise DataError(f"{path} should hold settings such as 'bodyparts:'; make the project anew")
    config = {key.value: value for key, value in whole.value if isinstance(key, yaml.ScalarNode)}
    several = _text(config.get("multianimalproject")) or "false"
    if several.lower() not in ("false", "no", "off", "0"):
        raise DataError(f"{path}: projects with several animals aren't supported yet, only one")
    return config


def _text(node: yaml.Node | None) -> str | None:
    """What a node says; None where there is none, or it is empty or no text."""
    if isinstance(node, yaml.ScalarNode) and node.tag in [YAML + kind for kind in PLAIN]:
        return str(node.value) or None
    return None


def _bodyparts(root: Path, config: dict[str, yaml.Node]) -> tuple[str, ...]:
    node = config.get("bodyparts")
    is_list = isinstance(node, yaml.SequenceNode) and node.tag == f"{YAML}seq"
    parts = [_text(part) for part in node.value] if node and is_list else []
    names = tuple(part for part in parts if part is not None)
    if not names or len(names) != len(parts):
        raise DataError(f"{root / 'config.yaml'}: 'bodyparts:' should list the body parts' names")
    return names


def _tables(root: Path, config: dict[str, yaml.Node]) -> list[Path]:
    """The label files of the project's scorer, or of anyone if it names none."""
    scorer = _text(config.get("scorer"))
    folder = root / "labeled-data"
    tables = sorted(folder.glob("*/CollectedData_*.csv"))
    if scorer is not None:
        tables = [table for table in tables if table.name == f"CollectedData_{scorer}.csv"]
    if not tables:
        name = f"CollectedData_{scorer or '*'}.csv"
        raise DataError(f"{folder} has no */{name}; label frames in DeepLabCut, or copy it here")
    return [pictures.inside(root, table, str(root)) for table in tables]


def _recognises(path: Path) -> bool:
    if path.is_file():
        return path.name == "config.yaml"
    return (path / "config.yaml").exists() or (path / "labeled-data").exists()


FORMAT = Format("a DeepLabCut project folder (config.yaml and labeled-data)", _recognises, read)

"""Read DeepLabCut projects (Mathis et al. 2018): config.yaml, labeled-data/*/CollectedData*.csv."""

from __future__ import annotations

from pathlib import Path

import yaml

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import (
    Dataset,
    Format,
    ImageSource,
    Joints,
    Sample,
    keep_labelled,
)
from mapdrop.localize.data.deeplabcut_csv import read_labels
from mapdrop.system.files import content

MAX_CONFIG_BYTES = 1 << 22
"""Largest config.yaml that is read."""
YAML, PLAIN = "tag:yaml.org,2002:", ("bool", "float", "int", "str", "timestamp")
"""Tags of the scalars that are read as plain text."""


def read(path: Path, selected: Joints | None = None) -> Dataset:
    """Read the labelled frames of a project, given its folder or the config.yaml in it.

    Raises:
        DataError: for anything missing or malformed; it names the file, the line and the remedy.
    """
    root = path.parent if path.is_file() else path
    config = _config(root)
    joints = selected or _bodyparts(root, config)
    samples: dict[ImageSource, Sample] = {}
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
        samples=keep_labelled(list(samples.values()), root / "labeled-data"),
        limits="Frames are split at random, so test frames come from the training frames' videos.",
        unit="pixels of the original frame",
    )


def _config(root: Path) -> dict[str, yaml.Node]:
    """Return the settings' YAML nodes by name, without constructing values from them.

    A few hundred bytes of YAML can expand to gigabytes of lists, and a name that looks like a date
    or a number must stay text.
    """
    path = root / "config.yaml"
    if not path.is_file():
        raise DataError(f"{path} is missing; pass the folder that DeepLabCut made, which has it")
    paths.resolve_inside(root, path, str(root))
    try:
        document = yaml.compose(content(path, MAX_CONFIG_BYTES).decode(), yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not valid YAML: {error}; correct it") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error}") from error
    if not isinstance(document, yaml.MappingNode):
        raise DataError(f"{path} should hold settings such as 'bodyparts:'; make a new project")
    config = {key.value: value for key, value in document.value if isinstance(key, yaml.ScalarNode)}
    multianimal = _text(config.get("multianimalproject")) or "false"
    if multianimal.lower() not in ("false", "no", "off", "0"):
        raise DataError(f"{path}: only projects with one animal are supported, not several")
    return config


def _text(node: yaml.Node | None) -> str | None:
    """Return a scalar node's text; None if the node is missing, empty or not text."""
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
    """Return the label files of the project's scorer, or all of them if it names no scorer."""
    scorer = _text(config.get("scorer"))
    folder = root / "labeled-data"
    tables = sorted(folder.glob("*/CollectedData_*.csv"))
    if scorer is not None:
        tables = [table for table in tables if table.name == f"CollectedData_{scorer}.csv"]
    if not tables:
        name = f"CollectedData_{scorer or '*'}.csv"
        raise DataError(f"{folder} has no */{name}; label frames in DeepLabCut, or copy it here")
    return [paths.resolve_inside(root, table, str(root)) for table in tables]


def _recognises(path: Path) -> bool:
    if path.is_file():
        return path.name == "config.yaml"
    return (path / "config.yaml").exists() or (path / "labeled-data").exists()


FORMAT = Format("a DeepLabCut project folder (config.yaml and labeled-data)", _recognises, read)

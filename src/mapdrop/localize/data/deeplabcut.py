"""DeepLabCut projects: config.yaml and labeled-data/*/CollectedData_*.csv (Mathis et al. 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mapdrop.localize.data import pictures
from mapdrop.localize.data.base import DataError, Format, KeypointData, Request
from mapdrop.localize.data.deeplabcut_csv import Label, read_labels

SIZE = (160, 120)
TRAIN_SIZE = 40
RADII = (10.0, 20.0)


def load(data: str, request: Request) -> KeypointData:
    """The labelled frames of the project folder `data`, split at random by `request.seed`.

    Raises:
        DataError: for anything missing or malformed, with the file, the line and the remedy.
    """
    root = Path(data)
    config = _config(root)
    joints = request.bodyparts or _bodyparts(root, config)
    labels = [
        label for table in _tables(root, config) for label in read_labels(root, table, joints)
    ]
    if not labels:
        raise DataError(f"{root / 'labeled-data'}: no frame has a label; label some in DeepLabCut")
    train, test = _split(root, len(labels), request)
    size = request.size or SIZE
    images, scales, points = zip(*(_frame(label, size) for label in labels), strict=True)
    return KeypointData(
        name=root.resolve().name,
        images=np.stack(images),
        points=np.stack(points),
        joints=joints,
        scale=np.array(scales),
        train=train,
        test=test,
        radii=RADII,
        unit="pixels of the original frame",
        limits="Frames are split at random, so test frames come from the training frames' videos.",
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


def _split(root: Path, count: int, request: Request) -> tuple[Any, Any]:
    train = request.train_size or min(TRAIN_SIZE, count // 2)
    test = request.test_size or count - train
    if train < 1 or test < 1 or train + test > count:
        raise DataError(
            f"{root} has {count} labelled frames, not enough for {train} to train and "
            f"{max(test, 1)} to test; use a smaller --train-size"
        )
    order = np.random.default_rng(request.seed).permutation(count)
    return np.sort(order[:train]), np.sort(order[train : train + test])


def _frame(label: Label, size: tuple[int, int]) -> tuple[Any, float, Any]:
    """A frame at its working size, its scale and its points in working pixels."""
    picture = pictures.read(label.image, label.where)
    _check_points(label, picture.size)
    image, scale = pictures.fitted(picture, size)
    return image, scale, (label.points + 0.5) / scale - 0.5


def _check_points(label: Label, size: tuple[int, int]) -> None:
    """A label may stick out by a pixel, as a click on the very edge does, and no further."""
    outside = (label.points < -1) | (label.points > size)
    if outside.any():
        x, y = label.points[outside.any(axis=1)][0]
        raise DataError(
            f"{label.where}: ({x:g}, {y:g}) lies outside {label.image.name}, which is "
            f"{size[0]}x{size[1]}; correct the label, or leave both of its cells empty"
        )


def _recognises(data: str) -> bool:
    root = Path(data)
    return (root / "config.yaml").exists() or (root / "labeled-data").exists()


FORMAT = Format("a DeepLabCut project folder (config.yaml and labeled-data)", _recognises, load)

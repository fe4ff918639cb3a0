"""Run one cell of a study; all conditions share the data and, per seed, the initial weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mapdrop.localize import metrics
from mapdrop.localize.data import KeypointData
from mapdrop.localize.network import CoarseNet, channels_last
from mapdrop.localize.normalise import local_contrast
from mapdrop.localize.train import Recipe, predict, train
from mapdrop.study.conditions import Condition
from mapdrop.study.grid import Cell
from mapdrop.study.rows import Row
from mapdrop.torch import seeded
from mapdrop.torch.compact import Costs

CURVE_POINTS = 41
EXAMPLES = 3
Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Predictions and truth, (N, K, 2) each."""


@dataclass(frozen=True)
class Settings:
    """The settings that all cells of a study share.

    Attributes:
        width, banks: as in `CoarseNet`.
        recipe: the hyperparameters of training.
        costs: constants for compact models, calibrated once for all processes and stored in a row;
            None before that.
    """

    width: int = 16
    banks: int = 2
    recipe: Recipe = field(default_factory=Recipe)
    costs: Costs | None = None

    def to_row(self) -> Row:
        """Return the settings that the user chose, so without costs."""
        return {name: value for name, value in asdict(self).items() if name != "costs"}


@dataclass(frozen=True)
class Inputs:
    """The data as tensors.

    Attributes:
        images: (N, 3, H, W), 0 to 255.
        normalised: the same images, normalised.
        points: (N, K, 2) in working pixels.
    """

    images: Tensor
    normalised: Tensor
    points: Tensor

    @classmethod
    def of(cls, data: KeypointData) -> Inputs:
        """Convert the data, once for all runs."""
        # Channels last in memory makes CPU convolutions about a sixth faster.
        images = torch.from_numpy(data.images).permute(0, 3, 1, 2)
        points = torch.from_numpy(data.points).float()
        return cls(images, local_contrast(images.float()), points)


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Attributes:
        row: the metrics to save.
        heat_maps: (n, K, rows, columns), of the test images of `example_indices`.
        points: (n, K, 2), read from the heat maps, in working pixels.
        test_points: (N, K, 2), those of all test images.
    """

    row: Row
    heat_maps: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]
    test_points: npt.NDArray[np.float32]


def build(condition: Condition, joints: int, seed: int, settings: Settings) -> CoarseNet:
    """Build a network whose initial weights and masks depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CoarseNet(joints, width=settings.width, banks=settings.banks, drop=condition.layer)
    return condition.prepare(seeded(channels_last(model), seed), settings.costs)


def run(
    cell: Cell,
    data: KeypointData,
    inputs: Inputs,
    settings: Settings,
    on_step: Callable[[], None] = lambda: None,
) -> RunResult:
    """Train one network and evaluate it on the training, validation and test images.

    Raises:
        TrainingDivergedError: when the loss is no longer finite.
    """
    started = time.perf_counter()
    model = build(cell.condition, len(data.joints), cell.seed, settings)
    parts = {
        "train": data.training_subset(cell.train_size),
        "validation": data.validation,
        "test": data.test,
    }
    images, truth = inputs.images[parts["train"]], inputs.points[parts["train"]]
    with torch.random.fork_rng(devices=[]):  # Seeded layers draw from it, for recomputation.
        losses = train(model, images, truth, settings.recipe, cell.seed, on_step)
    detections = {
        part: predict(model, inputs.normalised[indices])
        for part, indices in parts.items()
        if len(indices)
    }
    points = {
        part: to_original_pixels(data, parts[part], found.points.numpy())
        for part, found in detections.items()
    }
    row = {
        "kind": "run",
        **cell.to_row(),
        "metrics": {part: summary_metrics(pair, data) for part, pair in points.items()},
        "curve": {part: curve(pair, data) for part, pair in points.items()},
        "errors": {part: errors(pair, data) for part, pair in points.items() if part != "train"},
        "final_loss": float(np.mean(losses[-10:])),
        "seconds": time.perf_counter() - started,
    }
    shown, test = example_indices(data), detections["test"]
    points_found = test.points.numpy()
    return RunResult(row, test.heat_maps[shown].numpy(), points_found[shown], points_found)


def example_indices(data: KeypointData) -> npt.NDArray[np.intp]:
    """Return the positions in `data.test` of the images that reports show.

    They are spread out, because successive frames of a video look alike.
    """
    last = len(data.test) - 1
    return np.unique(np.linspace(0, last, EXAMPLES).round().astype(np.intp))


def to_original_pixels(
    data: KeypointData, indices: npt.NDArray[np.intp], points: npt.NDArray[np.floating]
) -> Points:
    """Return `points` (in working pixels) and the truth, both in original pixels."""
    scale = data.scale[indices, None, None]
    return points * scale, data.points[indices] * scale


def summary_metrics(points: Points, data: KeypointData) -> Row:
    """Return the metrics of a set of images."""
    scores = metrics.pck(*points, data.joints, data.radii)
    errors = metrics.pixel_errors(*points, data.joints)
    return {
        "pck": {f"{radius:g}": scores.at(radius)["total"] for radius in data.radii},
        "mean_error": errors.mean()["total"],
        "median_error": errors.median()["total"],
    }


def errors(points: Points, data: KeypointData) -> list[list[float | None]]:
    """Return the error of each joint of each image in original pixels; None if it is missing."""
    distances = metrics.pixel_errors(*points, data.joints).distances
    return [[None if np.isnan(d) else round(float(d), 2) for d in image] for image in distances]


def curve(points: Points, data: KeypointData) -> Row:
    """Return the PCK at radii from 0 to twice the larger radius."""
    radii = np.linspace(0, 2 * data.radii[1], CURVE_POINTS)
    return {
        "radii": radii.tolist(),
        "pck": metrics.pck(*points, data.joints, radii).total.tolist(),
    }


def baseline(data: KeypointData) -> Row:
    """Return the metrics of a constant prediction: each joint's mean position in training."""
    mean = np.nanmean(data.points[data.train], axis=0)
    points = np.broadcast_to(mean, (len(data.test), *mean.shape))
    return summary_metrics(to_original_pixels(data, data.test, points), data)

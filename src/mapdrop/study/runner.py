"""Runs one cell of a study: the same data, and for each seed the same start, in all conditions."""

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
from mapdrop.localize.network import CoarseNet
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
    """What is the same in every run of a study.

    Attributes:
        width, banks: of CoarseNet.
        recipe: how each network is trained.
        costs: of compact steps, measured once for all processes and kept in a row; None before.
    """

    width: int = 16
    banks: int = 2
    recipe: Recipe = field(default_factory=Recipe)
    costs: Costs | None = None

    def to_row(self) -> Row:
        """What was asked for; costs are what was found."""
        asked = asdict(self)
        del asked["costs"]
        return asked


@dataclass(frozen=True)
class Inputs:
    """The data as tensors.

    Attributes:
        images: (N, 3, H, W), 0 to 255.
        normalised: the same as the network sees them.
        points: (N, K, 2) in working pixels.
    """

    images: Tensor
    normalised: Tensor
    points: Tensor

    @classmethod
    def of(cls, data: KeypointData) -> Inputs:
        """Once for all runs."""
        # Channels last in memory, with which the CPU's convolutions are about a sixth faster.
        images = torch.from_numpy(data.images).permute(0, 3, 1, 2)
        points = torch.from_numpy(data.points).float()
        return cls(images, local_contrast(images.float()), points)


@dataclass(frozen=True)
class Outcome:
    """One finished run.

    Attributes:
        row: what is saved of it.
        heats: heat maps (n, K, rows, columns) of the test images that `shown` chooses.
        found: (n, K, 2), the points read from them in working pixels.
    """

    row: Row
    heats: npt.NDArray[np.float32]
    found: npt.NDArray[np.float32]


def build(condition: Condition, joints: int, seed: int, settings: Settings) -> CoarseNet:
    """A network whose start weights depend on `seed` only, and whose masks are seeded by it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CoarseNet(joints, width=settings.width, banks=settings.banks, drop=condition.layer)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return condition.ready(seeded(model, seed), settings.costs)


def run(
    cell: Cell,
    data: KeypointData,
    inputs: Inputs,
    settings: Settings,
    on_step: Callable[[], None] = lambda: None,
) -> Outcome:
    """Trains one network and measures it on the training, validation and test images.

    Raises:
        TrainingDivergedError: when the loss is no longer finite.
    """
    started = time.perf_counter()
    model = build(cell.condition, len(data.joints), cell.seed, settings)
    parts = {
        "train": data.smaller(cell.train_size),
        "validation": data.validation,
        "test": data.test,
    }
    images, truth = inputs.images[parts["train"]], inputs.points[parts["train"]]
    with torch.random.fork_rng(devices=[]):  # Seeded layers draw from it, for recomputations.
        losses = train(model, images, truth, settings.recipe, cell.seed, on_step)
    found = {part: predict(model, inputs.normalised[of]) for part, of in parts.items() if len(of)}
    points = {part: in_original(data, parts[part], of.points.numpy()) for part, of in found.items()}
    row = {
        "kind": "run",
        **cell.to_row(),
        "metrics": {part: measured(of, data) for part, of in points.items()},
        "curve": {part: curve(of, data) for part, of in points.items()},
        "errors": {part: errors(of, data) for part, of in points.items() if part != "train"},
        "final_loss": float(np.mean(losses[-10:])),
        "seconds": time.perf_counter() - started,
    }
    few, test = shown(data), found["test"]
    return Outcome(row, test.heats[few].numpy(), test.points[few].numpy())


def shown(data: KeypointData) -> npt.NDArray[np.intp]:
    """Positions in `data.test` of a few images for the picture.

    Spread out, because the frames of a video that follow each other look alike.
    """
    last = len(data.test) - 1
    return np.unique(np.linspace(0, last, EXAMPLES).round().astype(np.intp))


def in_original(
    data: KeypointData, chosen: npt.NDArray[np.intp], found: npt.NDArray[np.floating]
) -> Points:
    """`found` (in working pixels) and the truth, both in original pixels."""
    scale = data.scale[chosen, None, None]
    return found * scale, data.points[chosen] * scale


def measured(points: Points, data: KeypointData) -> Row:
    """What is reported of a set of images."""
    scores = metrics.pck(*points, data.joints, data.radii)
    far = metrics.pixel_errors(*points, data.joints)
    return {
        "pck": {f"{radius:g}": scores.at(radius)["total"] for radius in data.radii},
        "mean_error": far.mean()["total"],
        "median_error": far.median()["total"],
    }


def errors(points: Points, data: KeypointData) -> list[list[float | None]]:
    """How far off each joint of each image is, in original pixels; None where it is missing."""
    far = metrics.pixel_errors(*points, data.joints).distances
    return [[None if np.isnan(d) else round(float(d), 2) for d in image] for image in far]


def curve(points: Points, data: KeypointData) -> Row:
    """PCK from 0 to twice the larger radius."""
    radii = np.linspace(0, 2 * data.radii[1], CURVE_POINTS)
    return {
        "radii": radii.tolist(),
        "pck": metrics.pck(*points, data.joints, radii).total.tolist(),
    }


def guess(data: KeypointData) -> Row:
    """What is reached without looking: each joint's mean place in the training images."""
    mean = np.nanmean(data.points[data.train], axis=0)
    found = np.broadcast_to(mean, (len(data.test), *mean.shape))
    return measured(in_original(data, data.test, found), data)

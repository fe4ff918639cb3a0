"""Gradient descent; the same seed gives the same run, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.localize.augment import Augment
from mapdrop.localize.batches import Batch, Batches
from mapdrop.localize.cascade import Cascade
from mapdrop.localize.errors import LocalizeError
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.readout import Detections
from mapdrop.localize.stages import CoarseStage


class TrainingDivergedError(LocalizeError):
    """Raised when the loss is no longer finite."""


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a training stage.

    AdamW replaces the paper's SGD (momentum 0.9, weight decay 5e-4). In the few hundred steps of a
    study, and without normalisation layers, SGD diverged unless gradients were clipped; with
    clipping, it left networks with dropout half trained.

    Attributes:
        steps: number of gradient steps, at least 1.
        batch: images in each, at least 1.
        learning_rate: the peak, after 15 % of the steps; the rate starts and ends near 0.
        weight_decay: as in torch.optim.AdamW.
        clip: largest norm of the gradient.
        augment: limits of the training images' transforms.
    """

    steps: int = 300
    batch: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    clip: float = 2.0
    augment: Augment = field(default_factory=lambda: Augment(shift=8))

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < inf:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")


class Trainer:
    """The optimiser and schedule of one stage; a call makes one step.

    Args:
        stage: maps a `Batch` to a loss. Its parameters that require a gradient are trained.
        recipe: the hyperparameters.
        world_size: number of processes that share a batch. DistributedDataParallel averages their
            gradients, where the sum is needed.
    """

    stage: nn.Module
    clip: float
    world_size: int

    def __init__(self, stage: nn.Module, recipe: Recipe, world_size: int = 1) -> None:
        self.stage, self.clip, self.world_size = stage.train(), recipe.clip, world_size
        self.parameters: list[nn.Parameter] = [p for p in stage.parameters() if p.requires_grad]
        self.optimiser: torch.optim.AdamW = torch.optim.AdamW(
            self.parameters, weight_decay=recipe.weight_decay, betas=(0.9, 0.99)
        )
        self.schedule: torch.optim.lr_scheduler.OneCycleLR = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            recipe.learning_rate,
            # One more, because the schedule needs at least two.
            total_steps=recipe.steps + 1,
            pct_start=0.15,
            cycle_momentum=False,
        )

    def __call__(self, batch: Batch) -> float:
        """Make one step; return the loss before it.

        Raises:
            TrainingDivergedError: when the loss is not finite.
        """
        loss: Tensor = self.stage(batch)
        if not torch.isfinite(loss):
            raise TrainingDivergedError(
                f"the loss became {loss.item()}; use a smaller learning rate"
            )
        self.optimiser.zero_grad()
        (self.world_size * loss).backward()
        nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()
        self.schedule.step()
        return loss.item()

    def state_dict(self) -> dict[str, Any]:
        """Return the optimiser's and the schedule's state; parameters are not included."""
        return {"optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


def train(
    model: CoarseNet,
    images: Tensor,
    points: Tensor,
    recipe: Recipe,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> list[float]:
    """Train `model` in place and leave it in evaluation mode.

    Args:
        images: (N, 3, H, W), 0 to 255.
        points: (N, K, 2) in image pixels, NaN where missing.
        seed: determines the order of the images and their transforms.
        on_step: called after each step.

    Returns:
        the loss at every step.
    """
    step = Trainer(CoarseStage(model), recipe)
    batches = Batches(images, points, recipe.batch, seed, recipe.augment)
    losses = []
    for number in range(recipe.steps):
        losses.append(step(batches[number]))
        on_step()
    model.eval()
    return losses


@torch.no_grad()
def predict(model: CoarseNet | Cascade, images: Tensor, batch: int = 32) -> Detections:
    """Find the joints in normalised images (N, 3, H, W), in the model's present mode.

    Call `model.eval()` first.
    """
    parts = [model.locate(part) for part in images.split(batch)]
    return Detections(*map(torch.cat, zip(*parts, strict=True)))

"""Training by gradient descent: the same run, to the bit, for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.localize.augment import Augment
from mapdrop.localize.batches import Batch, Batches
from mapdrop.localize.errors import LocalizeError
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.readout import Found
from mapdrop.localize.stages import CoarseStage


class TrainingDivergedError(LocalizeError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    AdamW instead of the paper's SGD (momentum 0.9, weight decay 5e-4): in the few hundred steps of
    a study, and without normalisation layers, SGD diverged unless its gradients were clipped, and
    with clipping left the networks with dropout half trained.

    Attributes:
        steps: number of gradient steps, at least 1.
        batch: images in each, at least 1.
        learning_rate: at its highest, after 15 % of the steps; it starts and ends near 0.
        weight_decay: as in torch.optim.AdamW.
        clip: largest norm of the gradient.
        augment: how much the training images are changed.
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
    """One stage with its optimiser and schedule; a call makes one step.

    Args:
        stage: turns a `Batch` into a loss. Its parameters that require a gradient are trained.
        recipe: how.
        ranks: how many processes share a batch; their gradients are averaged
            (DistributedDataParallel), where the sum is wanted.
    """

    def __init__(self, stage: nn.Module, recipe: Recipe, ranks: int = 1) -> None:
        self.stage, self.clip, self.ranks = stage.train(), recipe.clip, ranks
        self.parameters = [p for p in stage.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, weight_decay=recipe.weight_decay, betas=(0.9, 0.99)
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            recipe.learning_rate,
            # One more: the schedule refuses to be asked for fewer than two.
            total_steps=recipe.steps + 1,
            pct_start=0.15,
            cycle_momentum=False,
        )

    def __call__(self, batch: Batch) -> float:
        """One step; the loss before it.

        Raises:
            TrainingDivergedError: when the loss is not finite.
        """
        loss: Tensor = self.stage(batch)
        if not torch.isfinite(loss):
            raise TrainingDivergedError(
                f"the loss became {loss.item()}; use a smaller learning rate"
            )
        self.optimiser.zero_grad()
        (self.ranks * loss).backward()
        nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()
        self.schedule.step()
        return loss.item()

    def state_dict(self) -> dict[str, Any]:
        """What another trainer of the same stage needs to go on, but for the parameters."""
        return {"optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the trainer was whose `state_dict` this is."""
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
    """Trains `model` in place and leaves it in evaluation mode.

    Args:
        images: (N, 3, H, W), 0 to 255.
        points: (N, K, 2) in image pixels, NaN where missing.
        seed: decides the order of the images and their changes.
        on_step: is called after every step.

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
def predict(model: nn.Module, images: Tensor, batch: int = 32) -> Found:
    """What a `CoarseNet` or a `Cascade` finds in normalised images (N, 3, H, W).

    The model is used as it is: call `model.eval()` first.
    """
    parts = [model.locate(part) for part in images.split(batch)]  # type: ignore[operator]
    return Found(*map(torch.cat, zip(*parts, strict=True)))

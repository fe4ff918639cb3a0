"""Training by gradient descent: the same run, to the bit, for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mapdrop.localize.augment import shifted
from mapdrop.localize.readout import coordinates
from mapdrop.localize.targets import gaussian_targets, heat_map_loss


class TrainingDivergedError(Exception):
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
        shift: training images are moved by up to so many pixels.
    """

    steps: int = 300
    batch: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    clip: float = 2.0
    shift: int = 8

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.shift < 0:
            raise ValueError(f"shift must not be negative, got {self.shift}")


def batches(
    images: Tensor, points: Tensor, recipe: Recipe, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The images and points of every step, as a function of the arguments only.

    Every image comes once, in random order, before any comes again; the last of one round are
    joined by the first of the next, so that every batch is full.
    """
    generator = torch.Generator().manual_seed(seed)
    waiting = torch.empty(0, dtype=torch.long)
    for _ in range(recipe.steps):
        while len(waiting) < recipe.batch:
            waiting = torch.cat([waiting, torch.randperm(len(images), generator=generator)])
        chosen, waiting = waiting[: recipe.batch], waiting[recipe.batch :]
        yield shifted(images[chosen], points[chosen], recipe.shift, generator)


class Trainer:
    """One model with its optimiser and schedule; a call makes one step."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model = model.train()
        self.clip = recipe.clip
        self.optimiser = torch.optim.AdamW(
            model.parameters(), weight_decay=recipe.weight_decay, betas=(0.9, 0.99)
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            recipe.learning_rate,
            # One more: the schedule refuses to be asked for fewer than two.
            total_steps=recipe.steps + 1,
            pct_start=0.15,
            cycle_momentum=False,
        )

    def __call__(self, images: Tensor, points: Tensor) -> float:
        """One step on (N, 3, H, W) images and (N, K, 2) points; the loss before it.

        Raises:
            TrainingDivergedError: when the loss is not finite.
        """
        heats = self.model(images)
        loss = heat_map_loss(heats, gaussian_targets(points, heats.shape[-2:]))
        if not torch.isfinite(loss):
            raise TrainingDivergedError(
                f"the loss became {loss.item()}; use a smaller learning rate"
            )
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimiser.step()
        self.schedule.step()
        return loss.item()


def train(
    model: nn.Module,
    images: Tensor,
    points: Tensor,
    recipe: Recipe,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> list[float]:
    """Trains `model` in place and leaves it in evaluation mode.

    Args:
        images: (N, 3, H, W), normalised.
        points: (N, K, 2) in image pixels, NaN where missing.
        seed: decides the order of the images and their shifts.
        on_step: is called after every step.

    Returns:
        the loss at every step.
    """
    step = Trainer(model, recipe)
    losses = []
    for batch in batches(images, points, recipe, seed):
        losses.append(step(*batch))
        on_step()
    model.eval()
    return losses


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch: int = 32) -> tuple[Tensor, Tensor]:
    """Heat maps (N, K, rows, columns) and coordinates (N, K, 2) in image pixels.

    The model is used as it is: call `model.eval()` first.
    """
    heats = torch.cat([model(part) for part in images.split(batch)])
    return heats, coordinates(heats)

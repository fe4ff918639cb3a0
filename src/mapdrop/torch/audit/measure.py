"""Measure what a drop drops in truth: draw its masks again, and count."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mapdrop.system.timing import interleaved
from mapdrop.torch.audit.products import Product

_PARTS = 1 << 20  # Independent parts of masks, after which the rate is known well enough.
_SECONDS = 0.5  # After which no other mask is drawn.
_DRAWS = 8  # Masks that are drawn at least.
_CHANCE = 1e-6  # With which a rate that is right is held for wrong.
_ROUNDS = 5


@dataclass(frozen=True)
class Measured:
    """What masks of one law dropped.

    Attributes:
        dropped: the share of values.
        parts: how many independent parts that is the mean of.
        is_drop: whether the mask drops at all; it may be noise that multiplies.
    """

    dropped: float
    parts: int
    is_drop: bool

    def is_not(self, p: float) -> bool:
        """Return whether the rate is certainly not p.

        By Hoeffding's bound for the mean of independent numbers from 0 to 1, whatever their law: it
        is as far away as this with a chance of at most 2 exp(-parts * divergence).
        """
        return self.parts * _divergence(self.dropped, p) > math.log(2 / _CHANCE)


def _divergence(share: float, p: float) -> float:
    """Return the Kullback-Leibler divergence of a coin of one probability from one of another."""
    pairs = ((share, p), (1 - share, 1 - p))
    if any(a > 0 and b == 0 for a, b in pairs):
        return math.inf
    return sum(a * math.log(a / b) for a, b in pairs if a > 0)


def measure(product: Product) -> Measured:
    """Draw masks, and return what they drop."""
    product.draw()  # The first one may compile a kernel.
    end = time.perf_counter() + _SECONDS
    dropped, draws = 0.0, 0
    values: set[float] = set()
    while draws < _DRAWS or (draws * product.independent < _PARTS and time.perf_counter() < end):
        mask, kept = product.draw()
        share = 1 - int(kept.sum()) / max(1, kept.numel())
        dropped, draws = dropped + share, draws + 1
        if dropped == 0 and kept.numel():
            values |= {float(mask.min()), float(mask.max())}
    # Noise has many values. In 16 bits a mask that should drop may hold 1 and 2 instead of 0 and 1.
    is_drop = dropped > 0 or (len(values) <= 2 and min(values, default=0) > 0)
    return Measured(dropped / draws, draws * product.independent, is_drop)


def seconds_of_drop(product: Product, x: Tensor) -> float:
    """Return how long a drop takes by itself: the mask, the product, and that of the gradient."""
    if not (x.is_floating_point() or x.is_complex()):  # Whole numbers, as tokens, have none.
        return shortest(lambda: product.apply(x), x.device)
    x, ones = x.requires_grad_(), torch.ones_like(x)

    def step() -> None:
        torch.autograd.grad(product.apply(x), x, ones)

    return shortest(step, x.device)


def shortest(step: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a function takes at its best."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return interleaved({"": step}, _ROUNDS, warmup=1, limit=_SECONDS, wait=wait)[""].least

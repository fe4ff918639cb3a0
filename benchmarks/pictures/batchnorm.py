"""What BatchNorm learns of a variance when dropout comes before it.

BatchNorm's running variance is that of training, with dropout; in eval mode nothing is dropped. The
figures are running variance through variance in eval mode: 1 where both agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

import mapdrop
from benchmarks.pictures.photographs import maps
from benchmarks.pictures.style import BLUE, ORANGE, RED, SKY

HEIGHT = 4.6
RATES = (0.1, 0.2, 0.3, 0.5, 0.7)
STEPS, SIDE, OUT = 24, 16, 32
KINDS = {"element-wise": "b c h w -> b c h w", "whole maps": "b c h w -> b c"}
PLACES = ("directly before", "a 3x3 convolution between")


def figures() -> dict[str, Any]:
    """Return the median over maps of running variance / variance in eval mode, for each rate."""
    return {
        place: {
            kind: [_shift(pattern, p, between) for p in RATES] for kind, pattern in KINDS.items()
        }
        for place, between in zip(PLACES, (False, True), strict=True)
    }


def _shift(pattern: str, p: float, between: bool) -> float:
    x = _activations()
    weight = _weight(x.shape[1])

    def before_norm(x: Tensor) -> Tensor:
        return functional.conv2d(x, weight) if between else x

    norm = nn.BatchNorm2d(OUT if between else x.shape[1], momentum=None)  # The mean of all steps.
    for step in range(STEPS):
        norm(before_norm(mapdrop.drop(x, pattern, p, seed=0, step=step)))
    assert norm.running_var is not None
    ratio = norm.running_var / before_norm(x).var((0, 2, 3))
    return round(float(ratio.median()), 3)


def _activations() -> Tensor:
    """Return the photographs' maps behind a ReLU, cut into a batch of squares: (b, c, h, w)."""
    photos, h, w, channels = maps().shape
    cut = maps().reshape(photos, h // SIDE, SIDE, w // SIDE, SIDE, channels)
    squares = cut.transpose(0, 1, 3, 5, 2, 4).reshape(-1, channels, SIDE, SIDE)
    return torch.from_numpy(np.ascontiguousarray(squares)).relu()


def _weight(channels: int) -> Tensor:
    """Return a new convolution's weight, as He et al. draw it."""
    drawn = np.random.default_rng(0).standard_normal((OUT, channels, 3, 3))
    return torch.from_numpy((drawn * np.sqrt(2 / (9 * channels))).astype(np.float32))


def draw(figure: Figure, found: dict[str, Any]) -> None:
    """Draw the ratios for each rate, side by side."""
    axis = figure.subplots()
    axis.axhline(1, color="black", lw=1.2)
    series = [(place, kind) for place in PLACES for kind in KINDS]
    styles = zip((BLUE, ORANGE, SKY, RED), ("o", "s", "^", "D"), strict=True)
    for number, ((place, kind), (colour, marker)) in enumerate(zip(series, styles, strict=True)):
        at = np.arange(len(RATES)) + 0.17 * (number - 1.5)
        axis.plot(at, found[place][kind], marker, color=colour, ms=8, label=f"{kind}, {place}")
    axis.set(xlabel="p", ylabel="variance learned / in eval", ylim=(0, 4.8))
    axis.set_xticks(range(len(RATES)), [str(p) for p in RATES])
    axis.legend(loc="upper left", fontsize=11, handletextpad=0.1)


def lines(found: dict[str, Any]) -> list[str]:
    """Return a table for the page."""
    rows = [["dropout before BatchNorm", *(f"p = {p}" for p in RATES)]]
    rows += [["---"] * len(rows[0])]
    for place, by_kind in found.items():
        for kind, ratios in by_kind.items():
            rows.append([f"{kind}, {place}", *(f"{ratio:.2f}" for ratio in ratios)])
    return [f"| {' | '.join(row)} |" for row in rows]

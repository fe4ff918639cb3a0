"""The study as one picture: PCK curves, and heat maps on test images beside the truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mapdrop.localize.data import KeypointData
from mapdrop.localize.network import POOLINGS
from mapdrop.study.rows import Row
from mapdrop.study.runner import Outcome, shown
from mapdrop.study.summary import best_of_each_drop, runs

# Okabe and Ito's colours: told apart by colour-blind readers too.
LINES = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES = ("-", "--", ":", "-.")
JOINTS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")


def draw(path: Path, rows: Sequence[Row], data: KeypointData, examples: Sequence[Outcome]) -> None:
    """Writes the picture to `path` (PNG), whole or not at all.

    Args:
        rows: all rows of the study.
        data: what it ran on.
        examples: outcomes of one seed; the best rate of each dropout is shown.
    """
    best = best_of_each_drop(rows, data.radii[0])
    chosen = [outcome for outcome in examples if outcome.cell.condition in best]
    count = len(chosen[0].heats)
    columns = len(chosen) + 1
    aspect = data.images.shape[1] / data.images.shape[2]
    width = 2.3 * columns
    figure = Figure(figsize=(width, 4.2 + 2.3 * aspect * count), layout="constrained")
    heights = [3.6, 0.4 + 2.3 * aspect * count]
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=heights))
    _curves(upper, rows, data)
    _heat_maps(lower, data, chosen)
    unfinished = path.with_suffix(".part")
    figure.savefig(unfinished, format="png", dpi=120)
    os.replace(unfinished, path)


def _curves(figure: Any, rows: Sequence[Row], data: KeypointData) -> None:
    """Mean over seeds, with a band of one standard deviation; test left, training right."""
    axes = figure.subplots(1, 2, sharey=True)
    parts = (("test", len(data.test)), ("train", len(data.train)))
    styles = list(product(DASHES, LINES)) * 8  # All colours, then all of them dashed.
    for axis, (part, count) in zip(axes, parts, strict=True):
        for (condition, of), (dashes, colour) in zip(runs(rows).items(), styles, strict=False):
            shares = 100 * np.array([row["curve"][part]["pck"] for row in of])
            radii, mean, spread = of[0]["curve"][part]["radii"], shares.mean(0), shares.std(0)
            axis.plot(radii, mean, dashes, color=colour, label=condition.label)
            axis.fill_between(radii, mean - spread, mean + spread, color=colour, alpha=0.12, lw=0)
        for radius in data.radii:
            axis.axvline(radius, color="0.7", lw=0.8, ls=":")
        axis.set(title=f"{part}, {count} images", xlabel="radius in px", xlim=(0, None))
        axis.set_ylim(0, 101)
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("% of joints within the radius")
    axes[1].legend(loc="lower right")
    seeds = len(next(iter(runs(rows).values())))
    figure.suptitle(
        f"Which dropout for {data.name}? mean and standard deviation over {seeds} seeds"
        if seeds > 1
        else f"Which dropout for {data.name}? one seed"
    )


def _heat_maps(figure: Any, data: KeypointData, outcomes: Sequence[Outcome]) -> None:
    """A row for each test image: the truth, then what each network made of it."""
    count = len(outcomes[0].heats)
    axes = figure.subplots(count, len(outcomes) + 1, squeeze=False)
    for i, index in enumerate(data.test[shown(data)]):
        picture, truth = data.images[index], data.points[index]
        axes[i, 0].imshow(picture)
        _mark(axes[i, 0], truth, data.joints)
        for axis, outcome in zip(axes[i, 1:], outcomes, strict=True):
            axis.imshow(_glow(picture, outcome.heats[i]))
            _mark(axis, truth, data.joints)
            colours = _cycle(JOINTS)[: len(truth)]
            axis.scatter(*outcome.found[i].T, marker="+", s=90, c="black", lw=3.5)
            axis.scatter(*outcome.found[i].T, marker="+", s=60, c=colours, lw=1.5)
    titles = ["truth", *(outcome.cell.condition.label for outcome in outcomes)]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(fill(title, 24), fontsize=10)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], xlim=_limits(data, 1), ylim=_limits(data, 0)[::-1])
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=7, frameon=False
    )
    figure.suptitle("some test images, first seed: o truth, + prediction, glow heat map", size=10)


def _mark(axis: Any, truth: Any, joints: Sequence[str]) -> None:
    for (x, y), joint, colour in zip(truth, joints, _cycle(JOINTS), strict=False):
        axis.scatter(x, y, s=70, facecolors="none", edgecolors=colour, lw=1.8, label=joint)


def _glow(picture: Any, heats: Any) -> Any:
    """The picture darkened and grey, with every joint's heat map in its own colour."""
    height, width = picture.shape[:2]
    grey = picture.mean(axis=2, keepdims=True) / 255 * 0.45
    colours = np.array([to_rgb(c) for c, _ in zip(_cycle(JOINTS), heats, strict=False)])
    # Each heat-map pixel covers a square of image pixels.
    side = next(side for side in POOLINGS if side * heats.shape[1] >= height)
    squares = heats.clip(0, 1).repeat(side, axis=1).repeat(side, axis=2)[:, :height, :width]
    # Mixed by height, as bright as the highest: a sum would be white where joints lie together.
    mixed = np.einsum("khw,kc->hwc", squares, colours) / (squares.sum(axis=0)[..., None] + 1e-6)
    return (grey + squares.max(axis=0)[..., None] * mixed).clip(0, 1)


def _limits(data: KeypointData, axis: int) -> tuple[float, float]:
    return -0.5, data.images.shape[1 + axis] - 0.5


def _cycle(colours: Sequence[str]) -> list[str]:
    return list(colours) * 8

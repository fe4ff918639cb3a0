"""The pictures of a study, each drawn into a figure or a part of one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from textwrap import fill
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.ticker import ScalarFormatter

from mapdrop.localize.network import POOLINGS
from mapdrop.study.bootstrap import pck
from mapdrop.study.conditions import Condition
from mapdrop.study.examples import Example, Pictures
from mapdrop.study.rows import Row
from mapdrop.study.verdict import Findings, count

# Okabe and Ito's colours: told apart by colour-blind readers too.
LINES = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES = ("-", "--", ":", "-.")
JOINTS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
STYLES = list(product(DASHES, LINES)) * 8
"""All colours, then all of them dashed."""

MAPS, SAMPLES, SIDE = 8, 2, 12
"""Of the masks shown: feature maps, samples, and pixels of a map along each axis."""


def curves(figure: Any, rows: Sequence[Row], found: Findings) -> None:
    """PCK by radius: mean over seeds with a band of one standard deviation, test and training."""
    axes, data = figure.subplots(1, 2, sharey=True), rows[0]["data"]
    sizes = {"test": data["test"], "train": found.train_size}
    for axis, (part, number) in zip(axes, sizes.items(), strict=True):
        for condition, (dashes, colour) in zip(found.best, STYLES, strict=False):
            of = [row["curve"][part] for row in found.runs[condition]]
            shares = 100 * np.array([curve["pck"] for curve in of])
            radii, mean, spread = of[0]["radii"], shares.mean(0), shares.std(0)
            axis.plot(radii, mean, dashes, color=colour, label=condition.label)
            axis.fill_between(radii, mean - spread, mean + spread, color=colour, alpha=0.12, lw=0)
        for radius in data["radii"]:
            axis.axvline(radius, color="0.7", lw=0.8, ls=":")
        axis.set(title=f"{part}, {count(number, 'image')}", xlabel="radius in px", xlim=(0, None))
        axis.set_ylim(0, 101)
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("% of joints within the radius")
    axes[1].legend(loc="lower right")


def learning_curve(figure: Any, rows: Sequence[Row], found: Sequence[Findings]) -> None:
    """PCK on test by number of training images, with 95 % of the bootstrap."""
    axis, radius = figure.subplots(), rows[0]["data"]["radii"][0]
    drops = list(dict.fromkeys(condition.drop for of in found for condition in of.best))
    for number, (drop, (dashes, colour)) in enumerate(zip(drops, STYLES, strict=False)):
        points = [
            (of.train_size, pck(of.runs[condition], radius))
            for of in found
            for condition in of.best
            if condition.drop == drop
        ]
        # A little apart, so that the bars don't hide each other.
        sizes = np.array([size for size, _ in points]) * 1.02 ** (number - len(drops) / 2)
        values = np.array([[gap.value, gap.low, gap.high] for _, gap in points]).T
        bars = abs(values[1:] - values[0])
        axis.errorbar(sizes, values[0], bars, ls=dashes, color=colour, label=drop, capsize=3)
    axis.set(xscale="log", xlabel="training images", xticks=[of.train_size for of in found])
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.minorticks_off()
    axis.set_ylabel(f"% of test joints within {radius:g} px")
    axis.grid(alpha=0.25)
    figure.legend(title="rate chosen on validation", loc="outside right upper", frameon=False)


def differences(figure: Any, rows: Sequence[Row], found: Sequence[Findings]) -> None:
    """Each dropout less the first one, with 95 % of the bootstrap."""
    axes = np.atleast_1d(figure.subplots(1, len(found), sharex=True, sharey=len(found) > 1))
    radius = rows[0]["data"]["radii"][0]
    for axis, of in zip(axes, found, strict=True):
        for place, (condition, gap) in enumerate(of.gaps.items()):
            colour = LINES[1 + place % (len(LINES) - 1)]
            axis.plot([gap.low, gap.high], [place, place], color=colour, lw=3, alpha=0.6)
            axis.plot(gap.value, place, "o", color=colour)
            axis.annotate(
                condition.label, (gap.value, place), (0, 7), textcoords="offset points", ha="center"
            )
        axis.axvline(0, color="0.4", lw=1)
        axis.set(title=count(of.train_size, "training image"), yticks=[])
        axis.set_ylim(len(of.gaps) - 0.4, -0.7)
        axis.grid(alpha=0.25, axis="x")
    figure.supxlabel(
        f"points of test joints within {radius:g} px, less {found[-1].base.label}", fontsize=10
    )


def masks(figure: Any, conditions: Sequence[Condition]) -> None:
    """What each dropout leaves of two samples of eight feature maps: black is dropped."""
    axes = figure.subplots(len(conditions), SAMPLES * MAPS, squeeze=False)
    for line, condition in zip(axes, conditions, strict=True):
        torch.manual_seed(0)
        kept = condition.layer().train()(torch.ones(SAMPLES, MAPS, SIDE, SIDE)) != 0
        for axis, plane in zip(line, kept.flatten(0, 1).numpy(), strict=True):
            axis.imshow(plane, cmap="cividis", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(fill(condition.label, 16), rotation=0, ha="right", va="center")
    for sample in range(SAMPLES):
        axes[0, sample * MAPS].set_title(f"sample {sample + 1}", loc="left", fontsize=10)


def heat_maps(figure: Any, pictures: Pictures, examples: Sequence[Example]) -> None:
    """A row for each test image: the truth, then what each network made of it."""
    number = len(pictures.images)
    axes = figure.subplots(number, len(examples) + 1, squeeze=False)
    colours = (JOINTS * 8)[: pictures.points.shape[1]]
    for i, (picture, truth) in enumerate(zip(pictures.images, pictures.points, strict=True)):
        axes[i, 0].imshow(picture)
        _mark(axes[i, 0], truth, colours)
        for axis, example in zip(axes[i, 1:], examples, strict=True):
            axis.imshow(_glow(picture, example.heats[i]))
            _mark(axis, truth, colours)
            axis.scatter(*example.found[i].T, marker="+", s=90, c="black", lw=3.5)
            axis.scatter(*example.found[i].T, marker="+", s=60, c=colours, lw=1.5)
    titles = ["truth", *(example.condition.label for example in examples)]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(fill(title, 24), fontsize=10)
    height, width = pictures.images.shape[1:3]
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _mark(axis: Any, truth: Any, colours: Sequence[str]) -> None:
    for (x, y), colour in zip(truth, colours, strict=True):
        axis.scatter(x, y, s=70, facecolors="none", edgecolors=colour, lw=1.8)


def _glow(picture: Any, heats: Any) -> Any:
    """The picture darkened and grey, with every joint's heat map in its own colour."""
    height, width = picture.shape[:2]
    grey = picture.mean(axis=2, keepdims=True) / 255 * 0.45
    colours = np.array([to_rgb(colour) for colour, _ in zip(JOINTS * 8, heats, strict=False)])
    # Each heat-map pixel covers a square of image pixels.
    side = next(side for side in POOLINGS if side * heats.shape[1] >= height)
    squares = heats.clip(0, 1).repeat(side, axis=1).repeat(side, axis=2)[:, :height, :width]
    # Mixed by height, as bright as the highest: a sum would be white where joints lie together.
    mixed = np.einsum("khw,kc->hwc", squares, colours) / (squares.sum(axis=0)[..., None] + 1e-6)
    return (grey + squares.max(axis=0)[..., None] * mixed).clip(0, 1)

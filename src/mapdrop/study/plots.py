"""The plots of a study, each drawn into a figure or a subfigure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from textwrap import fill
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.ticker import ScalarFormatter

from mapdrop.localize.evaluation.difficulty import hardest_first
from mapdrop.localize.network import POOLINGS
from mapdrop.study.bootstrap import pck
from mapdrop.study.conditions import Condition
from mapdrop.study.examples import Example, ExampleImages
from mapdrop.study.joint_errors import medians, tails, typical
from mapdrop.study.rows import Row
from mapdrop.study.verdict import Findings
from mapdrop.system.printable import count, drawable

# Okabe and Ito's palette, which colour-blind readers can distinguish.
LINES = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES = ("-", "--", ":", "-.")
JOINTS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
STYLES = list(product(DASHES, LINES)) * 8
"""All colours with solid lines, then with each kind of dashes."""

MOST_JOINTS = 40
"""Number of joints whose errors are shown, the hardest ones."""

MAPS, SAMPLES, SIDE = 8, 2, 12
"""Numbers of feature maps and samples whose masks are shown, and the maps' side in pixels."""


def curves(figure: Any, rows: Sequence[Row], found: Findings) -> None:
    """Plot PCK by radius for test and training: mean and standard deviation over seeds."""
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
    """Plot test PCK by number of training images, with 95 % bootstrap intervals."""
    axis, radius = figure.subplots(), rows[0]["data"]["radii"][0]
    drops = list(dict.fromkeys(condition.drop for of in found for condition in of.best))
    for number, (drop, (dashes, colour)) in enumerate(zip(drops, STYLES, strict=False)):
        points = [
            (of.train_size, pck(of.runs[condition], radius))
            for of in found
            for condition in of.best
            if condition.drop == drop
        ]
        # Shifted a little, so that the bars don't overlap.
        sizes = np.array([size for size, _ in points]) * 1.02 ** (number - len(drops) / 2)
        values = np.array(
            [[interval.value, interval.low, interval.high] for _, interval in points]
        ).T
        bars = abs(values[1:] - values[0])
        axis.errorbar(sizes, values[0], bars, ls=dashes, color=colour, label=drop, capsize=3)
    axis.set(xscale="log", xlabel="training images", xticks=[of.train_size for of in found])
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.minorticks_off()
    axis.set_ylabel(f"% of test joints within {radius:g} px")
    axis.grid(alpha=0.25)
    figure.legend(title="rate chosen on validation", loc="outside right upper", frameon=False)


def differences(figure: Any, rows: Sequence[Row], found: Sequence[Findings]) -> None:
    """Plot each dropout's difference from the first, with 95 % bootstrap intervals."""
    axes = np.atleast_1d(figure.subplots(1, len(found), sharex=True, sharey=len(found) > 1))
    radius = rows[0]["data"]["radii"][0]
    for axis, of in zip(axes, found, strict=True):
        for position, (condition, interval) in enumerate(of.differences.items()):
            colour = LINES[1 + position % (len(LINES) - 1)]
            axis.plot(
                [interval.low, interval.high], [position, position], color=colour, lw=3, alpha=0.6
            )
            axis.plot(interval.value, position, "o", color=colour)
            axis.annotate(
                condition.label,
                (interval.value, position),
                (0, 7),
                textcoords="offset points",
                ha="center",
            )
        axis.axvline(0, color="0.4", lw=1)
        axis.set(title=count(of.train_size, "training image"), yticks=[])
        axis.set_ylim(len(of.differences) - 0.4, -0.7)
        axis.grid(alpha=0.25, axis="x")
    figure.supxlabel(
        f"points of test joints within {radius:g} px, less {found[-1].base.label}", fontsize=10
    )


def joint_errors(figure: Any, rows: Sequence[Row], found: Findings) -> None:
    """Plot each joint's test error by dropout, the hardest on top: median, and to the 90 %."""
    axis, errors = figure.subplots(), typical(found)
    joints = [joint for joint in hardest_first(errors) if errors.labels[joint]][:MOST_JOINTS]
    places = np.arange(len(joints))
    for number, condition in enumerate(found.best):
        dashes, colour = STYLES[number]
        of = found.runs[condition]
        middle, end = medians(of)[joints], tails(of)[joints]
        # Shifted a little, so that the lines don't overlap.
        at = places + 0.6 * ((number + 0.5) / len(found.best) - 0.5)
        axis.hlines(at, middle, end, color=colour, ls=dashes, lw=1.5)
        axis.plot(middle, at, "o", color=colour, ms=5, label=condition.label)
    names = [drawable(rows[0]["data"]["joints"][joint]) for joint in joints]
    axis.set(yticks=places, yticklabels=names, xlabel="error in px")
    axis.set_xlim(0, None)
    axis.invert_yaxis()
    axis.grid(alpha=0.25, axis="x")
    figure.legend(loc="outside right upper", frameon=False)


def masks(figure: Any, conditions: Sequence[Condition]) -> None:
    """Show each dropout's masks of some samples' feature maps; dropped values are dark."""
    axes = figure.subplots(len(conditions), SAMPLES, squeeze=False)
    for line, condition in zip(axes, conditions, strict=True):
        torch.manual_seed(0)
        kept = condition.layer().train()(torch.ones(SAMPLES, MAPS, SIDE, SIDE)) != 0
        # A sample's maps are one image, with gaps between them: axes for each would take seconds.
        apart = np.pad(kept.float(), [(0, 0), (0, 0), (0, 0), (1, 1)], constant_values=np.nan)
        for axis, maps in zip(line, apart, strict=True):
            axis.imshow(np.hstack(maps), cmap="cividis", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[], frame_on=False)
        line[0].set_ylabel(fill(condition.label, 16), rotation=0, ha="right", va="center")
    for sample, axis in enumerate(axes[0], 1):
        axis.set_title(f"sample {sample}", loc="left", fontsize=10)


def heat_maps(figure: Any, shown: ExampleImages, examples: Sequence[Example]) -> None:
    """Show a row for each test image: the truth, then each network's heat maps."""
    number = len(shown.images)
    axes = figure.subplots(number, len(examples) + 1, squeeze=False)
    colours = (JOINTS * 8)[: shown.points.shape[1]]
    for i, (image, truth) in enumerate(zip(shown.images, shown.points, strict=True)):
        axes[i, 0].imshow(image)
        _mark_truth(axes[i, 0], truth, colours)
        for axis, example in zip(axes[i, 1:], examples, strict=True):
            axis.imshow(_overlay_heat_maps(image, example.heat_maps[i]))
            _mark_truth(axis, truth, colours)
            axis.scatter(*example.points[i].T, marker="+", s=90, c="black", lw=3.5)
            axis.scatter(*example.points[i].T, marker="+", s=60, c=colours, lw=1.5)
    titles = ["truth", *(example.condition.label for example in examples)]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(fill(title, 24), fontsize=10)
    height, width = shown.images.shape[1:3]
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _mark_truth(axis: Any, truth: Any, colours: Sequence[str]) -> None:
    for (x, y), colour in zip(truth, colours, strict=True):
        axis.scatter(x, y, s=70, facecolors="none", edgecolors=colour, lw=1.8)


def _overlay_heat_maps(image: Any, heat_maps: Any) -> Any:
    """Overlay each joint's heat map, in its own colour, on the darkened grey image."""
    height, width = image.shape[:2]
    grey = image.mean(axis=2, keepdims=True) / 255 * 0.45
    colours = np.array([to_rgb(colour) for colour, _ in zip(JOINTS * 8, heat_maps, strict=False)])
    # Each heat-map pixel covers a square of image pixels.
    side = next(side for side in POOLINGS if side * heat_maps.shape[1] >= height)
    squares = heat_maps.clip(0, 1).repeat(side, axis=1).repeat(side, axis=2)[:, :height, :width]
    # Mix by height and scale by the maximum: a sum would be white where joints are close.
    mixed = np.einsum("khw,kc->hwc", squares, colours) / (squares.sum(axis=0)[..., None] + 1e-6)
    return (grey + squares.max(axis=0)[..., None] * mixed).clip(0, 1)

"""Plot an evaluation: within which radius joints are found, and how the errors of each spread."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mapdrop.localize import overlay
from mapdrop.localize.evaluation import CURVE_POINTS, Evaluation
from mapdrop.localize.evaluation.difficulty import hardest_first
from mapdrop.system.printable import count, drawable

MOST = 40
"""Number of joints whose errors are shown, the hardest ones."""


def png(evaluation: Evaluation) -> bytes:
    """Return the plot as the content of a PNG file."""
    shown = min(MOST, len(evaluation.joints))
    figure = Figure(figsize=(12, max(4.5, 1.5 + 0.25 * shown)), layout="constrained")
    curves, errors = figure.subplots(1, 2)
    labelled = evaluation.labelled
    images = count(len(labelled), "image")
    figure.suptitle(f"{drawable(labelled.name)}: {images} never trained on")
    plot_curves(curves, evaluation)
    plot_errors(errors, evaluation)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def plot_curves(axis: Any, evaluation: Evaluation) -> None:
    """Plot the PCK of each joint and of all by radius."""
    labelled = evaluation.labelled
    radii = np.linspace(0, 2 * labelled.radii[1], CURVE_POINTS)
    scores = evaluation.pck(radii)
    for joint, curve, colour in zip(
        scores.joints, scores.per_joint.T, _colours(len(scores.joints)), strict=True
    ):
        missing = " (no labels)" * bool(np.isnan(curve).all())
        axis.plot(radii, 100 * curve, color=colour, label=f"{drawable(joint)}{missing}")
    axis.plot(radii, 100 * scores.total, color="black", lw=2.5, label="all")
    axis.set(xlabel=f"radius in px ({drawable(labelled.unit)})", ylabel="% of joints within")
    axis.set(xlim=(0, radii[-1]), ylim=(0, 101))
    axis.grid(alpha=0.25)
    axis.legend(loc="lower right", ncols=1 + len(scores.joints) // 10, fontsize=8)


def plot_errors(axis: Any, evaluation: Evaluation) -> None:
    """Show each joint's errors, the hardest on top: median, quarters, tenths, and those beyond."""
    errors, colours = evaluation.errors, _colours(len(evaluation.joints))
    joints = [joint for joint in hardest_first(errors) if errors.labels[joint]][:MOST]
    columns = [errors.distances[:, joint] for joint in joints]
    boxes = axis.boxplot(
        [column[~np.isnan(column)] for column in columns],
        orientation="horizontal",
        whis=(10, 90),
        widths=0.6,
        patch_artist=True,
        tick_labels=[
            f"{drawable(errors.joints[joint])} ({errors.labels[joint]})" for joint in joints
        ],
        medianprops={"color": "black", "lw": 2},
        flierprops={"markersize": 3, "alpha": 0.6},
    )
    for box, joint in zip(boxes["boxes"], joints, strict=True):
        box.set(facecolor=colours[joint])
    # Linear where errors should be, so that the few that are far off don't squeeze the others.
    axis.set_xscale("symlog", linthresh=evaluation.labelled.radii[1], subs=(2, 5))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("{x:g}")
    axis.invert_yaxis()
    axis.grid(alpha=0.25, axis="x")
    axis.set(xlabel="error in px; box: half, line: median, whiskers: 10 to 90 %", xlim=(0, None))


def _colours(count: int) -> list[tuple[float, float, float]]:
    return [(r / 255, g / 255, b / 255) for r, g, b in overlay.colours(count)]

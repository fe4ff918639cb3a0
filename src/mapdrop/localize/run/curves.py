"""Plot a run's log: the loss and validation scores of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mapdrop.system.files import write
from mapdrop.system.printable import drawable

COLOURS = {"coarse": "#0072B2", "fine": "#E69F00", "joint": "#009E73"}
"""From Okabe and Ito's palette, which colour-blind readers can distinguish."""


def draw(path: Path, log: Sequence[dict[str, Any]], unit: str) -> None:
    """Write the plot as PNG, atomically.

    Args:
        path: the file.
        log: the entries of all validations, stage by stage.
        unit: what a pixel is.
    """
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    start = 0
    for stage in dict.fromkeys(row["stage"] for row in log):
        rows = [row for row in log if row["stage"] == stage]
        steps = [start + row["step"] for row in rows]
        for axis, key in zip(axes, ("loss", "score", "median_error"), strict=True):
            values = [(step, row[key]) for step, row in zip(steps, rows, strict=True)]
            shown = [pair for pair in values if pair[1] is not None]
            axis.plot(*zip(*shown, strict=True), ".-", color=COLOURS[stage], label=stage)
        best = max(row["step"] for row in rows if row["best"])
        axes[1].axvline(start + best, color=COLOURS[stage], lw=0.8, ls=":")
        start = steps[-1]
    axes[0].set(ylabel="training loss", yscale="log")
    axes[1].set(ylabel="validation: area\nunder the PCK curve", ylim=(0, 1.02))
    axes[2].set(ylabel="validation: median\nerror in px", yscale="log", xlabel="step")
    axes[0].legend(title="stage", loc="upper right", ncols=3)
    axes[0].set_title(
        f"px: {drawable(unit)}; dotted: a stage's best, from which the next continues", size=9
    )
    for axis in axes:
        axis.grid(alpha=0.25)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write(path, content.getvalue())

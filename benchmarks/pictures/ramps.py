"""Rates that grow with a block's depth, and rates that change with the training step."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from benchmarks.pictures.style import BLUE, GREEN, ORANGE
from mapdrop import rates

HEIGHT = 5.4
BLOCKS, LAST = 12, 0.3
STEPS, OWN, TURN = 100, 0.1, 30
SCHEDULES = {
    "linear": rates.linear(0, 1, steps=STEPS * 3 // 4),
    "early": rates.early(until=TURN),
    "late": rates.late(begin=TURN),
}


def figures() -> dict[str, Any]:
    """Return the rate of each block, and of each percent of the training."""
    by_depth = rates.linear(0, 1, steps=BLOCKS - 1)
    return {
        "depth": [round(by_depth(block, LAST), 4) for block in range(BLOCKS)],
        "time": {
            name: [round(rate(step, OWN), 4) for step in range(STEPS + 1)]
            for name, rate in SCHEDULES.items()
        },
    }


def draw(figure: Figure, found: dict[str, Any]) -> None:
    """Draw a panel for each."""
    depth, time = figure.subplots(2, 1)
    depth.bar(range(1, BLOCKS + 1), found["depth"], color=BLUE)
    depth.set(xlabel="residual block", ylabel="p", title="drop path: by depth")
    depth.set_xticks((1, 4, 8, 12))
    styles = zip(found["time"].items(), (BLUE, ORANGE, GREEN), ("-", "--", ":"), strict=True)
    for (name, values), colour, dashes in styles:
        shape = "default" if name == "linear" else "steps-post"
        label, steps = f"rates.{name}", range(STEPS + 1)
        time.plot(steps, values, dashes, drawstyle=shape, color=colour, label=label, lw=2.8)
    time.set(xlabel="% of the training", ylabel="p", title="by time", ylim=(-0.005, 0.135))
    time.legend(ncols=3, loc="upper center", columnspacing=1, fontsize=11)

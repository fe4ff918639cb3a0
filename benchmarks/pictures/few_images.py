"""What dropout gained in our own studies, from the rows of `experiments`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.pictures.style import BLUE, GREEN, ORANGE
from mapdrop.study.rows import NAME, read_rows
from mapdrop.study.verdict import findings

HEIGHT = 8.2
ROWS = Path(__file__).parents[2] / "experiments"
STUDIES = {
    "scenes": "digits on photographs",
    "mouse-openfield": "a mouse in its box",
    "mouse-openfield-longer": "the mouse, four times the steps",
}
_STYLES = {"element": (BLUE, "o"), "spatial": (ORANGE, "s"), "block": (GREEN, "^")}


def figures() -> dict[str, Any]:
    """Return, for each study, number of images and dropout: points gained over none, and 95 %."""
    return {
        name: {
            str(of.train_size): {
                condition.drop: {
                    "rate": condition.rate,
                    "gained": [round(x, 1) for x in (gap.value, gap.low, gap.high)],
                }
                for condition, gap in of.differences.items()
            }
            for of in findings(read_rows(ROWS / name / NAME))
        }
        for name in STUDIES
    }


def draw(figure: Figure, found: dict[str, Any]) -> None:
    """Draw a panel for each study: points gained, with intervals."""
    axes = figure.subplots(len(STUDIES), 1, sharey=True)
    for axis, (name, title) in zip(axes, STUDIES.items(), strict=True):
        sizes = list(found[name])
        axis.axhline(0, color="black", lw=1)
        for place, size in enumerate(sizes):
            for number, (drop, of) in enumerate(found[name][size].items()):
                colour, marker = _STYLES[drop]
                value, low, high = of["gained"]
                at = place + 0.2 * (number - 1)
                axis.plot([at, at], [low, high], color=colour, lw=2.2)
                axis.plot(at, value, marker, color=colour, ms=8)
        axis.set_xticks(range(len(sizes)), sizes)
        axis.set(title=title, xlim=(-0.5, len(sizes) - 0.5))
        axis.grid(visible=False, axis="x")
    axes[1].set_ylabel("points gained over no dropout, and 95 % intervals")
    axes[-1].set_xlabel("training images")
    for drop, (colour, marker) in _STYLES.items():
        axes[0].plot([], [], marker, color=colour, ms=8, label=drop)
    axes[0].legend(ncols=3, loc="upper right", columnspacing=0.8, handletextpad=0.1, fontsize=11)


def lines(found: dict[str, Any]) -> list[str]:
    """Return what the page says of the rates."""
    cells = [
        of for study in found.values() for by_drop in study.values() for of in by_drop.values()
    ]
    low = min(of["rate"] for of in cells)
    better = sum(of["rate"] == low for of in cells)
    shown = [of for of in cells if of["gained"][1] > 0 or of["gained"][2] < 0]
    gained = sum(of["gained"][0] > 0 for of in shown)
    return [
        f"Of {len(cells)} comparisons with no dropout, the lower rate ({low:g}) was the better "
        f"one in {better}. In all, {gained} show a gain and {len(shown) - gained} a loss; the "
        f"intervals of the other {len(cells) - len(shown)} include 0."
    ]

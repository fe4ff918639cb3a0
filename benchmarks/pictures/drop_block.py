"""What each DropBlock drops for a rate, from its published rule for the centres of blocks.

Centres are independent coins of rate q. A place that c centres may cover falls with probability
1 - (1 - q)**c, so the mean over the map follows from q. Everybody but mapdrop takes q from a closed
form; `tests/docs/coming_from` tests these laws on the algorithms themselves, and mapdrop's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.pictures.style import BLUE, GREEN, ORANGE, RED
from mapdrop.spec.law import Law, centre_rate

HEIGHT = 6.8
BLOCK, MAPS = 7, (56, 28, 14, 7)
RATES = tuple(n / 50 for n in range(1, 26))
CALLS = {
    "paper": "the paper, torchvision, TensorFlow's, timm's `drop_block_2d` before 1.0.23",
    "timm": "timm from 1.0.23 on, and its `drop_block_fast_2d` before",
    "pypi": "`dropblock` on PyPI",
    "mapdrop": "mapdrop",
}


def figures() -> dict[str, Any]:
    """Return the mean fraction dropped, for each call, size of the map and rate."""
    return {
        name: {str(n): [round(dropped(name, n, p), 4) for p in RATES] for n in MAPS}
        for name in CALLS
    }


def dropped(name: str, n: int, p: float, block: int = BLOCK) -> float:
    """Return the mean fraction of an n x n map that a call drops at the rate p."""
    block = min(block, n)
    closed = p * n**2 / block**2 / (n - block + 1) ** 2
    valid = Law(p, block=((0, block), (1, block)))
    region, q = {
        "paper": ("valid", closed),
        "timm": ("full", closed),
        "pypi": ("full", p / block**2),
        "mapdrop": ("valid", centre_rate(valid, (n, n))),
    }[name]
    return float(np.mean(1 - (1 - min(q, 1.0)) ** covering(n, block, region)))


def covering(n: int, block: int, region: str) -> NDArray[np.int64]:
    """Return how many centres may cover each place of an n x n map, for an odd block."""
    edge = block // 2 if region == "valid" else 0
    centre, place = np.arange(edge, n - edge), np.arange(n)
    along = (abs(centre[:, None] - place) <= block // 2).sum(0)
    return np.asarray(np.multiply.outer(along, along))


def draw(figure: Figure, found: dict[str, Any]) -> None:
    """Draw what is really dropped against p, for the two smallest maps."""
    axes = figure.subplots(2, 1, sharex=True)
    percent = 100 * np.array(RATES)
    styles = {
        "timm": (RED, "--"),
        "mapdrop": (GREEN, "-"),
        "paper": (BLUE, ":"),
        "pypi": (ORANGE, "-."),
    }
    labels = {"timm": "timm ≥ 1.0.23", "paper": "paper, torchvision", "pypi": "PyPI's dropblock"}
    for axis, n in zip(axes, MAPS[-2:], strict=True):
        for name, (colour, dashes) in styles.items():
            width = 4 if name == "paper" else 2.4
            label = labels.get(name, name)
            axis.plot(
                percent,
                100 * np.array(found[name][str(n)]),
                dashes,
                color=colour,
                lw=width,
                label=label,
            )
        axis.set(
            title=f"map {n}x{n}, block {BLOCK}x{BLOCK}", ylabel="really dropped, %", ylim=(0, 104)
        )
    axes[0].legend(loc="upper left", fontsize=11)
    axes[1].set_xlabel("p, %")


def lines(found: dict[str, Any]) -> list[str]:
    """Return a table for the page, at the paper's rate."""
    at = RATES.index(0.1)
    rows = [["p = 0.1, blocks of 7x7", *(f"{n}x{n}" for n in MAPS)], ["---"] * (len(MAPS) + 1)]
    for name, by_size in found.items():
        rows.append([CALLS[name], *(f"{by_size[str(n)][at]:.3f}" for n in MAPS)])
    return [f"| {' | '.join(row)} |" for row in rows]

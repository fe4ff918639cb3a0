"""Masks of blocks: where they lie, and which maps share them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import mapdrop
from benchmarks.pictures.style import SKY, blank

HEIGHT = 4.9
SIDE, MAPS, RATE = 14, 4, 0.25
EACH, TOGETHER = "c h w -> h w c", "c h w -> h w"
CASES: dict[str, tuple[str, int, str]] = {
    "a mask each,\nwhole blocks": (EACH, 5, "valid"),
    "a mask each,\ncut at edges": (EACH, 5, "full"),
    "one mask\nfor all": (TOGETHER, 5, "valid"),
    "block as large\nas the map": (EACH, SIDE, "valid"),
}


def figures() -> dict[str, list[str]]:
    """Return each map of each case as text: 1 is kept, 0 dropped."""
    return {
        name: ["".join(np.where(one, "1", "0").ravel()) for one in _kept(*case)]
        for name, case in CASES.items()
    }


def _kept(pattern: str, side: int, region: str) -> Any:
    ones = np.ones((MAPS, SIDE, SIDE), np.float32)
    block = {"h": side, "w": side}
    mask = mapdrop.mask(pattern, ones.shape, RATE, seed=3, block=block, region=region)
    return mask.apply(ones) > 0


def draw(figure: Figure, found: dict[str, list[str]]) -> None:
    """Draw a row for each case."""
    axes = figure.subplots(len(CASES), MAPS)
    for row, (name, masks) in zip(axes, found.items(), strict=True):
        for axis, mask in zip(row, masks, strict=True):
            bits = np.array(list(mask), int).reshape(SIDE, SIDE)
            axis.imshow(
                bits, ListedColormap(["#303036", SKY]), vmin=0, vmax=1, interpolation="none"
            )
            blank(axis)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for number, axis in enumerate(axes[0]):
        axis.set_title(f"map {number + 1}")

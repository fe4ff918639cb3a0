"""How much of what dropout takes can still be read off what it leaves.

A linear predictor sees the 5x5 values around a place, with zeros where values were dropped, as a
5x5 convolution would. It is fitted on the dropped values of one photograph's maps, and tested on
those of the other's. Without the place itself, it says how redundant neighbours are.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

import mapdrop
from benchmarks.pictures.photographs import NAMES, Maps, maps
from benchmarks.pictures.style import BLUE, ORANGE, blank

HEIGHT = 6.0
KINDS: dict[str, dict[str, Any]] = {
    "element-wise": {"pattern": "b h w c -> b h w c"},
    "DropBlock, 7x7": {"pattern": "b h w c -> b h w c", "block": {"h": 7, "w": 7}},
    "whole maps": {"pattern": "b h w c -> b c"},
}
RATES = (0.2, 0.5)
MASKS = 32
SHOWN = NAMES.index("edge ╱")
_SIDE, _MOST, _RIDGE = 5, 4000, 1e-3
_SEEN = NAMES[::3]  # The maps whose values are predicted.


def figures() -> dict[str, Any]:
    """Return, for each kind and rate, the share of the dropped values' variance that is read off.

    `same` is read off the same map, `all` off all maps.
    """
    return {
        kind: {
            str(p): {"same": _explained(kind, p, False), "all": _explained(kind, p, True)}
            for p in RATES
        }
        for kind in KINDS
    }


@cache
def kept(kind: str, p: float, seed: int) -> NDArray[np.bool_]:
    """Return which values of the maps a mask keeps."""
    ones = np.ones_like(maps())
    return np.asarray(mapdrop.mask(shape=ones.shape, p=p, seed=seed, **KINDS[kind]).apply(ones) > 0)


def _explained(kind: str, p: float, every: bool) -> float:
    """Return the mean over maps and over both directions between the photographs."""
    masks = [kept(kind, p, seed) for seed in range(MASKS)]
    shares = []
    for channel in map(NAMES.index, _SEEN):
        of = [_cases(masks, photo, channel, every) for photo in (0, 1)]
        for (seen, values), (others, wanted) in (of, of[::-1]):
            error = wanted - others @ _weights(seen, values)
            shares.append(1 - float((error**2).sum() / (wanted**2).sum()))
    return round(float(np.mean(shares)), 2)


def _weights(seen: Maps, values: Maps) -> Maps:
    """Return those of the best linear predictor, with a little ridge."""
    gram = seen.T @ seen + _RIDGE * len(seen) * np.eye(seen.shape[1], dtype=np.float32)
    return np.asarray(np.linalg.solve(gram, seen.T @ values))


def _cases(
    masks: list[NDArray[np.bool_]], photo: int, channel: int, every: bool
) -> tuple[Maps, Maps]:
    """Return what is around dropped values, and the values."""
    whole = _standard()[photo]
    part = slice(None) if every else slice(channel, channel + 1)
    seen, values = [], []
    for mask in masks:
        dropped = np.argwhere(~mask[photo, ..., channel])
        at = dropped[:: max(1, len(dropped) * MASKS // _MOST)]
        if len(at):
            seen.append(_around((whole * mask[photo])[..., part], at))
            values.append(whole[at[:, 0], at[:, 1], channel])
    return np.concatenate(seen), np.concatenate(values)


def _around(left: Maps, at: NDArray[np.int64]) -> Maps:
    """Return the values around places, (places, values)."""
    edge = _SIDE // 2
    padded = np.pad(left, ((edge, edge), (edge, edge), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_SIDE, _SIDE), axis=(0, 1))
    return np.asarray(windows[at[:, 0], at[:, 1]].reshape(len(at), -1))


@cache
def _standard() -> Maps:
    """Return the maps with mean 0 and variance 1 in each photograph."""
    whole = maps()
    centred = whole - whole.mean((1, 2), keepdims=True)
    return np.asarray(centred / centred.std((1, 2), keepdims=True))


def rebuilt(kind: str, p: float) -> tuple[Maps, NDArray[np.bool_], Maps]:
    """Return a map of the first photograph, what a mask keeps of it, and what is read off that.

    It is the first mask that drops something of this map.
    """
    seeds = (seed for seed in range(1000) if not kept(kind, p, seed)[0, ..., SHOWN].all())
    mask = kept(kind, p, next(seeds))
    whole = _standard()[0]
    weights = _weights(*_cases([kept(kind, p, seed) for seed in range(MASKS)], 1, SHOWN, False))
    left = whole * mask[0]
    places = np.argwhere(np.ones(whole.shape[:2], bool))
    read = (_around(left[..., SHOWN : SHOWN + 1], places) @ weights).reshape(whole.shape[:2])
    mask = mask[0, ..., SHOWN]
    return whole[..., SHOWN], mask, np.where(mask, left[..., SHOWN], read)


def draw(figure: Figure, found: dict[str, Any]) -> None:
    """Draw a map: what is left of it, and what neighbours still tell."""
    colours = LinearSegmentedColormap.from_list("signed", [BLUE, "#F7F7F7", ORANGE])
    colours.set_bad("#303036")
    axes = figure.subplots(len(KINDS), 2)
    axes[0, 0].set_title("half of it dropped (dark)")
    axes[0, 1].set_title("read off the neighbours")
    for row, kind in zip(axes, KINDS, strict=True):
        _, mask, read = rebuilt(kind, 0.5)
        for axis, values in zip(row, (np.where(mask, read, np.nan), read), strict=True):
            axis.imshow(values, cmap=colours, vmin=-2.5, vmax=2.5, interpolation="none")
            blank(axis)
        row[0].set_ylabel(kind)
        row[1].set_xlabel(f"{100 * found[kind]['0.5']['same']:.0f} % of what was lost")


def lines(found: dict[str, Any]) -> list[str]:
    """Return a table for the page."""
    head = [f"{where}, p = {p}" for p in RATES for where in ("off the same map", "off all 12 maps")]
    rows = [["dropped", *head], ["---"] * (len(head) + 1)]
    for kind, by_rate in found.items():
        cells = [f"{100 * by_rate[str(p)][of]:.0f} %" for p in RATES for of in ("same", "all")]
        rows.append([kind, *cells])
    return [f"| {' | '.join(row)} |" for row in rows]

"""Make feature maps from a photograph by a small fixed bank of filters.

Twelve maps like those of a network's first layer: edges and bars in four directions, blobs of two
sizes, and two colour contrasts. Their values have both signs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FeatureMaps = NDArray[np.float32]

NAMES = (
    "edge │",
    "red–green",
    "blue–yellow",
    "edge ─",
    "bar │",
    "bar ─",
    "edge ╱",
    "edge ╲",
    "blob",
    "wide blob",
    "bar ╱",
    "bar ╲",
)
_ANGLES = {"│": 0.0, "╱": 45.0, "─": 90.0, "╲": 135.0}
_SIDE = 9


def feature_maps(photographs: NDArray[np.uint8]) -> FeatureMaps:
    """Turn photographs (b, h, w, 3) to feature maps (b, h, w, 12), most values within -1 to 1."""
    red, green, blue = np.moveaxis(photographs.astype(np.float32) / 255, -1, 0)
    grey = np.asarray((red + green + blue) / 3, np.float32)
    maps = [
        _opponent(red - green)
        if name == "red–green"
        else _opponent(blue - (red + green) / 2)
        if name == "blue–yellow"
        else _correlate(grey, kernel(name))
        for name in NAMES
    ]
    stacked = np.stack(maps, axis=-1)
    # A network's maps differ in strength; the picture should not.
    strength = np.quantile(np.abs(stacked), 0.98, axis=(0, 1, 2))
    return np.asarray(stacked / np.where(strength > 1e-6, strength, 1), np.float32)


def kernel(name: str) -> NDArray[np.float32]:
    """Return the filter of that name: its values sum to 0, so that it answers to contrast alone."""
    y, x = np.mgrid[-(_SIDE // 2) : _SIDE // 2 + 1, -(_SIDE // 2) : _SIDE // 2 + 1]
    kind, _, direction = name.partition(" ")
    if "blob" in name:
        size = 2.0 if kind == "wide" else 1.0
        centre, around = (np.exp(-(x**2 + y**2) / (2 * s**2)) for s in (size, 1.6 * size))
        made = centre / centre.sum() - around / around.sum()
    else:
        angle = np.deg2rad(_ANGLES[direction])
        across = x * np.cos(angle) + y * np.sin(angle)
        wave = np.sin if kind == "edge" else np.cos
        made = np.exp(-(x**2 + y**2) / (2 * 1.5**2)) * wave(across * np.pi / 2.5)
    return np.asarray(made - made.mean(), np.float32)


def _opponent(difference: FeatureMaps) -> FeatureMaps:
    """Return a colour contrast, 0 where the photograph has its mean colour."""
    return np.asarray(difference - difference.mean(axis=(1, 2), keepdims=True), np.float32)


def _correlate(grey: FeatureMaps, weights: NDArray[np.float32]) -> FeatureMaps:
    edge = _SIDE // 2
    padded = np.pad(grey, ((0, 0), (edge, edge), (edge, edge)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape, axis=(1, 2))
    return np.asarray(np.einsum("bhwij,ij->bhw", windows, weights))

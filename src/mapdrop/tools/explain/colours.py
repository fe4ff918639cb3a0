"""Paint values: blue below 0, white at 0, red above, and one colour for what was dropped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.uint8]

NEGATIVE, ZERO, POSITIVE = (33, 102, 172), (247, 247, 247), (178, 24, 43)
DROPPED = (48, 48, 54)


def paint(values: NDArray[np.float32], dropped: NDArray[np.bool_]) -> Colours:
    """Return each value as red, green, blue (a last axis of 3); values are cut to -1 to 1."""
    anchors = np.array([NEGATIVE, ZERO, POSITIVE], np.float32)
    channels = [np.interp(values, (-1, 0, 1), anchors[:, i]) for i in range(3)]
    colours = np.stack(channels, axis=-1).round().astype(np.uint8)
    colours[dropped] = DROPPED
    return colours

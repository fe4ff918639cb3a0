"""Feature maps of two photographs, which stand for those of a network's first layer."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mapdrop.tools.explain.filters import NAMES, feature_maps
from mapdrop.tools.explain.photographs import photographs

SIZE = (96, 64)  # Width, height.

Maps = NDArray[np.float32]


@cache
def maps() -> Maps:
    """Return those that `mapdrop explain` shows, larger: (photographs, h, w, maps)."""
    small = [image.resize(SIZE, Image.Resampling.BOX) for image in photographs()]
    return feature_maps(np.stack([np.asarray(image) for image in small]))


__all__ = ["NAMES", "SIZE", "Maps", "maps"]

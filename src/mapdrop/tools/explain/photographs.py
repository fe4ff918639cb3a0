"""The photographs that are shown: two that scikit-learn ships, or the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mapdrop.system.files import opened

LARGE = (480, 320)  # As they are shown: width, height.
SMALL = (36, 24)  # As they are filtered: the size of the feature maps.
MOST = 4
_BUNDLED = ("china.jpg", "flower.jpg")


def photographs(files: Sequence[Path] = ()) -> list[Image.Image]:
    """Return at least two photographs of size LARGE, so that a mask's batch axis can be seen.

    One file alone is joined by its mirror image.

    Raises:
        ValueError: for a file that Pillow cannot read; the message names it.
    """
    if len(files) > MOST:
        raise ValueError(f"the picture has room for {MOST} images, {len(files)} were given")
    if not files:
        # Here, because scikit-learn takes long to import and the user's own images do without it.
        from sklearn.datasets import load_sample_image

        loaded = [Image.fromarray(load_sample_image(name)) for name in _BUNDLED]
    else:
        loaded = [_read(file) for file in files]
    fitted = [ImageOps.fit(image, LARGE) for image in loaded]
    return fitted if len(fitted) > 1 else [fitted[0], ImageOps.mirror(fitted[0])]


def pixels(images: Sequence[Image.Image]) -> NDArray[np.uint8]:
    """Return the photographs at the size of the feature maps: (b, h, w, 3)."""
    return np.stack([np.asarray(image.resize(SMALL, Image.Resampling.BOX)) for image in images])


def _read(file: Path) -> Image.Image:
    try:
        with opened(file) as content, Image.open(content) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as problem:
        raise ValueError(f"{file} is not an image that Pillow reads") from problem
    except OSError as problem:
        raise ValueError(f"{file} cannot be read: {problem.strerror or problem}") from problem
    except Exception as problem:  # Damaged files break Pillow's decoders in every way there is.
        raise ValueError(f"{file} cannot be read as an image: {problem}") from problem

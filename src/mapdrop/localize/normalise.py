"""Local contrast normalisation: what the network sees of a photograph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter


def local_contrast(images: npt.NDArray[np.uint8], sigma: float = 6.0) -> npt.NDArray[np.float32]:
    """Each pixel less the mean around it, divided by the standard deviation around it.

    As in Jarrett et al. (ICCV 2009), which Tompson et al. (2015) use. The divisor is never smaller
    than its own mean over the image, so that flat regions aren't blown up into noise.

    Args:
        images: (N, H, W, 3), 0 to 255.
        sigma: standard deviation in pixels of the Gaussian window.

    Returns:
        (N, 3, H, W).
    """
    normalised = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
    for image, out in zip(images, normalised, strict=True):
        planes = image.transpose(2, 0, 1).astype(np.float32)
        centred = planes - gaussian_filter(planes, sigma, axes=(1, 2), mode="nearest")
        # One deviation for all three colours keeps their contrast with each other.
        power = gaussian_filter(np.square(centred).mean(axis=0), sigma, mode="nearest")
        deviation = np.sqrt(np.maximum(power, 0.0))
        out[:] = centred / np.maximum(deviation, max(float(deviation.mean()), 1e-3))
    return normalised

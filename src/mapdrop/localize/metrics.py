"""How far predictions are from the truth: PCK and the mean error, over labelled joints only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def errors(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> Array:
    """Euclidean distance of every labelled joint, as one flat array.

    Args:
        predicted, truth: (N, K, 2) in pixels. A joint is labelled when neither of its true
            coordinates is NaN. A NaN prediction of a labelled joint is infinitely far off.

    Raises:
        ValueError: when the shapes differ, or no joint is labelled.
    """
    guess, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if guess.shape != true.shape or true.shape[-1:] != (2,):
        raise ValueError(f"expected two arrays of shape (N, K, 2), got {guess.shape}, {true.shape}")
    labelled = ~np.isnan(true).any(axis=-1)
    if not labelled.any():
        raise ValueError("no joint is labelled, so there is no error to measure")
    distance = np.linalg.norm(guess - true, axis=-1)[labelled]
    return np.where(np.isnan(distance), np.inf, distance)


def pck(distances: npt.ArrayLike, radii: Sequence[float] | Array) -> Array:
    """Percentage of correct key points: the share (0 to 1) no further off than each radius.

    Args:
        distances: what `errors` returns.
        radii: in the unit of `distances`.

    Returns:
        one share for each radius.
    """
    flat = np.asarray(distances, np.float64).ravel()
    within = flat[None, :] <= np.asarray(radii, np.float64)[:, None]
    return np.asarray(within.mean(axis=1), np.float64)

"""Compare predictions with the truth: PCK, PCKh, PDJ and the error in pixels.

All metrics follow the same rules. A joint with a NaN in the truth is missing and never counts. A
NaN in the prediction of an annotated joint is a miss at every threshold. A distance equal to the
threshold is a hit, as in MPII's evaluation: ``distance / head_size <= threshold``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mapdrop.localize.scores import Array, index_of, unique_names
from mapdrop.localize.scores import PixelErrors as PixelErrors
from mapdrop.localize.scores import Scores as Scores


def pck(
    predicted: npt.ArrayLike,
    truth: npt.ArrayLike,
    joints: Sequence[str],
    thresholds: npt.ArrayLike,
    lengths: npt.ArrayLike | None = None,
) -> Scores:
    """Return the percentage of correct key points (PCK): those within a fraction of a length.

    Sapp & Taskar (CVPR 2013) use the torso's length; `length` computes it, or the distance between
    any other two joints, from the truth.

    Args:
        predicted, truth: (N, K, 2) in pixels; the module's docstring defines NaN.
        joints: K different names.
        thresholds: one or more, from 0, as multiples of the lengths.
        lengths: (N,) in pixels. A frame whose length is NaN or 0 is left out and counted in
            `left_out`. None means that thresholds are in pixels.

    Raises:
        ValueError: when shapes, names, thresholds or lengths don't match, or no joint is left.

    >>> truth = [[[0, 0], [0, 10]], [[5, 5], [np.nan, np.nan]]]
    >>> predicted = [[[3, 4], [0, 10]], [[5, 7], [1, 1]]]
    >>> scores = pck(predicted, truth, ["hip", "shoulder"], [0.2, 0.5], lengths=[10, 20])
    >>> print(scores)
                 0.2     0.5      of
    hip         50.0   100.0       2
    shoulder   100.0   100.0       1
    total       66.7   100.0       3
    >>> scores.at(0.2)["hip"], scores.only(["shoulder"]).total.tolist()
    (0.5, [1.0, 1.0])
    """
    far, names = distances(predicted, truth), _names(joints, truth)
    limits, frames, left_out = _thresholds(thresholds), len(far), 0
    if lengths is not None:
        units = _lengths(lengths, frames)
        usable = units > 0
        left_out = frames - int(usable.sum())
        # Tiny lengths give infinite distances, which are rightly misses.
        with np.errstate(over="ignore"):
            far = far[usable] / units[usable, None]
        if np.isnan(far).all():
            raise ValueError(
                f"no annotated joint is left: {left_out} of {frames} frames have a length of NaN "
                "or 0; normalise by something that more frames have"
            )
    found = (far <= limits[:, None, None]).sum(axis=1)
    return Scores(names, limits, found, (~np.isnan(far)).sum(axis=0), frames, left_out)


def pckh(
    predicted: npt.ArrayLike,
    truth: npt.ArrayLike,
    joints: Sequence[str],
    head_sizes: npt.ArrayLike,
    thresholds: npt.ArrayLike = 0.5,
) -> Scores:
    """Return PCKh: PCK relative to the size of the head (Andriluka et al., CVPR 2014).

    MPII's head size is 0.6 times the diagonal of the head's box. Its evaluation excludes the pelvis
    and the thorax, as `Scores.only` can, and reports the mean of a left and right pair.

    Args:
        head_sizes: (N,) in pixels, like the lengths of `pck`. The other arguments and the errors
            are those of `pck`.

    >>> scores = pckh([[[3, 4], [9, 9]]], [[[0, 0], [9, 8]]], ["neck", "wrist"], head_sizes=[8])
    >>> scores.at(0.5)
    {'neck': 0.0, 'wrist': 1.0, 'total': 0.5}
    """
    return pck(predicted, truth, joints, thresholds, head_sizes)


def pdj(
    predicted: npt.ArrayLike,
    truth: npt.ArrayLike,
    joints: Sequence[str],
    torso: tuple[str, str],
    thresholds: npt.ArrayLike = 0.2,
) -> Scores:
    """Return the percentage of detected joints (PDJ): PCK relative to the torso's diagonal.

    Defined by Toshev & Szegedy (CVPR 2014). The other arguments and the errors are those of `pck`.

    Args:
        torso: the joints at the diagonal's ends, a shoulder and the hip of the other side.

    >>> truth = [[[0, 0], [30, 40]]]
    >>> pdj([[[0, 10], [30, 51]]], truth, ["shoulder", "hip"], ("shoulder", "hip")).at(0.2)
    {'shoulder': 1.0, 'hip': 0.0, 'total': 0.5}
    """
    return pck(predicted, truth, joints, thresholds, length(truth, joints, *torso))


def pixel_errors(
    predicted: npt.ArrayLike, truth: npt.ArrayLike, joints: Sequence[str]
) -> PixelErrors:
    """Return each joint's error in pixels; the arguments and errors are those of `pck`.

    >>> errors = pixel_errors([[[3, 4], [9, 9]]], [[[0, 0], [9, 8]]], ["neck", "wrist"])
    >>> errors.mean()
    {'neck': 5.0, 'wrist': 1.0, 'total': 3.0}
    """
    far = distances(predicted, truth)
    return PixelErrors(_names(joints, truth), far)


def length(truth: npt.ArrayLike, joints: Sequence[str], one: str, other: str) -> Array:
    """Return the distance between two joints in each frame, a normaliser for `pck`.

    Args:
        truth: (N, K, 2) in pixels, NaN where missing.
        joints: K different names.
        one, other: two of the names.

    Returns:
        (N,) in pixels, NaN where either joint is missing.

    Raises:
        ValueError: when shape and names don't match, `one` is `other`, or a coordinate is infinite.

    >>> length([[[0, 0], [3, 4]], [[0, 0], [np.nan, 4]]], ["shoulder", "hip"], "shoulder", "hip")
    array([ 5., nan])
    """
    true, names = _true(truth), _names(joints, truth)
    if one == other:
        raise ValueError(f"a length needs two different joints, got {one!r} twice")
    return _euclidean(true[:, index_of(one, names)], true[:, index_of(other, names)])


def distances(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> Array:
    """Return the Euclidean distance of each joint from the truth.

    Args:
        predicted, truth: (N, K, 2) in pixels.

    Returns:
        (N, K): NaN where the joint is missing in the truth (one NaN coordinate is enough), infinity
        where it is annotated and its prediction has a NaN.

    Raises:
        ValueError: when the shapes differ, a true coordinate is infinite, or no joint is annotated.

    >>> distances([[[3, 4], [9, 9], [np.nan, 0]]], [[[0, 0], [np.nan, 8], [5, 5]]])
    array([[ 5., nan, inf]])
    """
    guess, true = _points(predicted, "predicted"), _true(truth)
    if guess.shape != true.shape:
        raise ValueError(
            f"predicted and truth must have one shape, got {guess.shape} and {true.shape}"
        )
    missing = np.isnan(true).any(axis=-1)
    if missing.all():
        raise ValueError("no joint is annotated, so there is nothing to measure: all truth is NaN")
    far = _euclidean(guess, true)
    return np.where(missing, np.nan, np.where(np.isnan(far), np.inf, far))


def _euclidean(a: Array, b: Array) -> Array:
    # The distance of an absurd prediction may overflow to infinity, a miss.
    with np.errstate(over="ignore"):
        x, y = np.moveaxis(a - b, -1, 0)
        return np.asarray(np.hypot(x, y), np.float64)


def _points(values: npt.ArrayLike, name: str) -> Array:
    points = np.asarray(values, np.float64)
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ValueError(
            f"{name} must be of shape (N, K, 2), frames by joints by (x, y), got {points.shape}"
        )
    return points


def _true(values: npt.ArrayLike) -> Array:
    points = _points(values, "truth")
    if np.isinf(points).any():
        raise ValueError("truth has an infinite coordinate; write NaN for a joint that is missing")
    return points


def _names(joints: Sequence[str], truth: npt.ArrayLike) -> tuple[str, ...]:
    names, count = unique_names(joints), np.shape(truth)[1]
    if len(names) != count:
        raise ValueError(f"name each of the {count} joints, got {len(names)}: {', '.join(names)}")
    return names


def _thresholds(values: npt.ArrayLike) -> Array:
    limits = np.atleast_1d(np.asarray(values, np.float64))
    # An infinite threshold would count missing predictions as hits.
    if limits.ndim != 1 or not limits.size or not (np.isfinite(limits) & (limits >= 0)).all():
        raise ValueError(f"thresholds are one or more finite numbers from 0, got {values!r}")
    return limits


def _lengths(values: npt.ArrayLike, frames: int) -> Array:
    units = np.asarray(values, np.float64)
    if units.shape != (frames,):
        raise ValueError(f"lengths must be one for each of {frames} frames, got {units.shape}")
    if (units < 0).any() or np.isinf(units).any():
        raise ValueError(
            "lengths must be finite and not negative (NaN or 0 leaves a frame out), got "
            f"{units[(units < 0) | np.isinf(units)][0]:g}"
        )
    return units

"""Single coins of masks too large to make: each by the words that decide it, and no others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.spec.law import Law, block_axes, centre_rate, strides, survivors, threshold
from mapdrop.spec.numpy_coins import Bits
from mapdrop.spec.words import U64, words


def kept_at(law: Law, sizes: tuple[int, ...], key: int, step: int, index: tuple[Any, ...]) -> Bits:
    """Return some coins: `index` has one integer array for each coin axis, all of one shape."""
    at = np.broadcast_arrays(*(np.asarray(i, U64) for i in index))
    number = _number(at, sizes)
    if law.block:
        return ~_reached(law, sizes, key, step, at, number)
    axis = law.axis
    if axis is None:
        return np.asarray(words(number, key, step) >= U64(threshold(law.p)))
    n, gap = sizes[axis], U64(strides(sizes)[axis])
    line = (number - at[axis] * gap)[..., None] + np.arange(n, dtype=U64) * gap
    drawn, place = words(line, key, step).astype(np.int64), at[axis].astype(np.int64)[..., None]
    own = np.take_along_axis(drawn, place, -1)
    before = (drawn > own) | ((drawn == own) & (np.arange(n) < place))
    others = _number([i for a, i in enumerate(at) if a != axis], sizes[:axis] + sizes[axis + 1 :])
    if law.exact is not None:
        quota = np.asarray(survivors(law.p, n))
    else:
        extra = words(np.asarray(others + U64(math.prod(sizes))), key, step).astype(U64)
        quota = (U64((2**32 - threshold(law.p)) * n) + extra) >> U64(32)
    return np.asarray(before.sum(-1) < quota.astype(np.int64))


def _number(at: Sequence[NDArray[np.uint64]], sizes: tuple[int, ...]) -> NDArray[np.uint64]:
    """Return the row-major number of the places `at` in an array of these sizes."""
    number = np.zeros(at[0].shape if at else (), U64)
    for place, step in zip(at, strides(sizes), strict=True):
        number = number + place * U64(step)
    return number


def _reached(
    law: Law, sizes: tuple[int, ...], key: int, step: int, at: Any, number: NDArray[np.uint64]
) -> Bits:
    """Return whether a centre drops each coin: the words of the centres in reach, and no others."""
    steps, limit = strides(sizes), U64(threshold(centre_rate(law, sizes)))
    ranges = block_axes(law, sizes)
    hit = np.zeros(number.shape, bool)
    for offsets in itertools.product(
        *(range(-(k - 1) + k // 2, k // 2 + 1) for _, k, *_ in ranges)
    ):
        allowed, centre = np.ones(number.shape, bool), number.astype(np.int64)
        for offset, (axis, _, _, first, last) in zip(offsets, ranges, strict=True):
            place = at[axis].astype(np.int64) + offset
            allowed &= (first <= place) & (place <= last)
            centre = centre + offset * steps[axis]
        drawn = words(np.where(allowed, centre, 0).astype(U64), key, step)
        hit |= allowed & (drawn < limit)
    return hit

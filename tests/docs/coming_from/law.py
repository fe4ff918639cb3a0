"""Laws of dropout, observed: how often coins fall, what they scale, and which values share one.

Bounds are exact, as in tests/integration/test_statistics.py, seeds are fixed, and so many coins are
looked at that a rate off by BIAS is rejected; test_law.py shows that each check can fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests import checks
from tests.integration.test_statistics import Bits, accept

Array = NDArray[Any]
Drop = Callable[[Array], Array]
DRAWS = 128  # Of coins that are to be told apart: 2 of them fall alike by chance in 1e-9 of cases.


@dataclass(frozen=True)
class Law:
    """The axes with coins of their own, the rate, and what kept values are multiplied by."""

    own: tuple[int, ...]
    p: float
    scale: float


def observe(drop: Drop, x: Array, scale: float | None, draws: int) -> Bits:
    """Which values of x are kept in so many calls; the others are 0, and these x * scale.

    Without a scale, it is the number of values over the number kept.
    """
    kept = np.empty((draws, *x.shape), bool)
    for bits in kept:
        y = drop(x)
        assert y.shape == x.shape, f"the shape became {y.shape}"
        assert y.dtype == x.dtype, f"the dtype became {y.dtype}"
        bits[...] = y != 0
        factor = scale or x.size / max(bits.sum(), 1)
        wanted = x * np.float32(factor)
        assert (abs(y - wanted) <= 1e-6 * abs(wanted))[bits].all(), "not x * scale"
    return kept


def coins(kept: Bits, own: tuple[int, ...]) -> Bits:
    """One value for each coin: axis 0 has the draws. The others have to be the same."""
    shared = tuple(axis + 1 for axis in range(kept.ndim - 1) if axis not in own)
    first = kept[tuple(slice(1) if a in shared else slice(None) for a in range(kept.ndim))]
    assert (kept == first).all(), f"values differ along {shared}, where they share a coin"
    return first.squeeze(shared)


def check_rate(kept: Bits, law: Law) -> None:
    """Coins fall at the rate, and neighbours along each axis, and in two draws, independently."""
    tossed = coins(kept, law.own)
    accept(tossed.size - int(tossed.sum()), tossed.size, law.p)
    check_independence(tossed, law.p)


def check_independence(tossed: Bits, p: float) -> None:
    """Neighbours along each axis, in pairs that have no coin in common, agree by chance only."""
    for axis, size in enumerate(tossed.shape):
        if size > 1:
            one, other = (tossed.take(range(i, size - size % 2, 2), axis) for i in (0, 1))
            agree = int((one == other).sum())
            accept(agree, one.size, p**2 + (1 - p) ** 2, tests=tossed.ndim)


def sharing(kept: Bits) -> list[int]:
    """For each value the first one that falls whenever it does."""
    first: dict[bytes, int] = {}
    columns = kept.reshape(len(kept), -1).T
    return [first.setdefault(column.tobytes(), i) for i, column in enumerate(columns)]


def partition(shape: tuple[int, ...], own: tuple[int, ...]) -> list[int]:
    """`sharing` as it should be."""
    first: dict[tuple[int, ...], int] = {}
    places = itertools.product(*map(range, shape))
    return [first.setdefault(tuple(at[a] for a in own), i) for i, at in enumerate(places)]


def check_law(
    drop: Drop, law: Law, many: tuple[int, ...], draws: int, few: tuple[int, ...]
) -> None:
    """All of it: the rate in arrays of shape `many`, and which values share a coin in `few`."""
    check_rate(observe(drop, checks.inputs(many), law.scale, draws), law)
    found = sharing(observe(drop, checks.inputs(few), law.scale, DRAWS))
    assert found == partition(few, law.own), "other values share a coin"

"""One body of checks for every framework's drop, against the independent reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mapdrop import kernels
from mapdrop.spec.mask_spec import forget_specs
from tests import reference
from tests.cases import Case


@contextmanager
def without_kernels() -> Iterator[None]:
    """Have no compiled kernels, nor specs that remember some."""
    forget_specs()
    try:
        with mock.patch.object(kernels, "for_cpu", return_value=None):
            yield
    finally:
        forget_specs()


def inputs(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Different values of both signs, none of them 0, the same for each call."""
    count = int(np.prod(shape))
    flat = (0.5 + np.arange(count) % 61 / 8) * np.where(np.arange(count) % 3, 1, -1)
    return flat.reshape(shape).astype(dtype)


@lru_cache(maxsize=256)
def _coins(case: Case) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which values are kept, and what each is multiplied by; the reference is slow."""
    made = reference.values(case.pattern, case.shape, case.p, **case.options)
    kept = np.array([bit for bit, _ in made.values()], bool).reshape(case.shape)
    factor = np.array([scale for _, scale in made.values()], np.float64).reshape(case.shape)
    kept.flags.writeable = factor.flags.writeable = False
    return kept, factor


def expected(case: Case, x: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Which values are kept, and the result: one product in float32 (float64), rounded once."""
    kept, factor = _coins(case)
    wide = np.float64 if x.dtype == np.float64 else np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.asarray(x.astype(wide) * factor.astype(wide)).astype(x.dtype)
    result[~kept] = 0
    return kept, result


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Equal shape, dtype and bits; a NaN equals any other."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    with np.errstate(invalid="ignore"):  # To widen a signalling NaN is an invalid operation.
        both_nan = np.isnan(a.astype(np.float64)) & np.isnan(b.astype(np.float64))
    raw = f"u{a.dtype.itemsize}"
    equal = np.ascontiguousarray(a).view(raw) == np.ascontiguousarray(b).view(raw)
    return bool((equal.reshape(a.shape) | both_nan).all())


def check_drop(
    drop: Callable[..., Any],
    make: Callable[[NDArray[Any]], Any],
    to_numpy: Callable[[Any], NDArray[Any]],
    case: Case,
    dtype: DTypeLike = np.float32,
) -> None:
    """`drop(x, pattern, p, **options)` does what the specification says, for one case.

    Args:
        drop: the function to be checked.
        make: a NumPy array of `dtype` -> the framework's array, of any device and memory layout.
        to_numpy: the framework's array -> a NumPy array of the same dtype.
        case: pattern, shape, rate and options; its seed is always given.
        dtype: NumPy's or ml_dtypes' float of the array.

    Raises AssertionError.
    """
    x = inputs(case.shape, dtype)
    kept, wanted = expected(case, x)

    given = make(x.copy())
    came = to_numpy(drop(given, case.pattern, case.p, **case.options))
    assert came.shape == x.shape, f"the shape became {came.shape}"
    assert came.dtype == x.dtype, f"the dtype became {came.dtype}"
    assert same_bits(to_numpy(given), x), "the input was written to"

    wrong = np.argwhere((came != 0) != (kept & (wanted != 0)))
    assert len(wrong) == 0, f"dropped where kept or kept where dropped: {_some(wrong)}"
    assert not np.signbit(came[~kept].astype(np.float32)).any(), "a dropped value is -0"
    wrong = np.argwhere(came != wanted)
    assert len(wrong) == 0, f"a kept value is not x * scale: {_some(wrong)}"

    again = to_numpy(drop(make(x.copy()), case.pattern, case.p, **case.options))
    assert same_bits(again, came), "the same seed gave another result"

    # The mask never depends on x: not on its sign, nor its order, nor values that spread.
    turned = -x[::-1].copy() if x.ndim else -x
    came = to_numpy(drop(make(turned), case.pattern, case.p, **case.options))
    assert same_bits(came, expected(case, turned)[1]), "the mask depends on x"
    if case.p > 0:
        for value in (np.nan, np.inf, -np.inf, -0.0):
            wild = np.full(case.shape, value, dtype)
            came = to_numpy(drop(make(wild.copy()), case.pattern, case.p, **case.options))
            assert same_bits(came, expected(case, wild)[1]), f"{value} under the mask"


def check_balanced(drop: Callable[[NDArray[Any]], NDArray[Any]], draws: int = 200) -> None:
    """`drop` keeps floor or ceil of 0.7 b of b samples, each of them in 0.7 of its calls.

    At b = 1 that is Bernoulli. Raises AssertionError.
    """
    for batch in (1, 2, 5, 10):
        x = inputs((batch, 2))
        came = np.stack([drop(x) for _ in range(draws)])
        kept = came[:, :, 0] != 0
        wanted = np.where(kept[..., None], x * np.float32(1 / 0.7), np.float32(0))
        assert np.array_equal(came, wanted), "a sample is dropped in part, or wrongly scaled"
        counts, exact = set(kept.sum(1).tolist()), 7 * batch / 10
        assert counts == {math.floor(exact), math.ceil(exact)}, f"{counts} kept of {batch}"
        each = np.abs(kept.mean(0) - 0.7)
        assert (each < 5 * (0.7 * 0.3 / draws) ** 0.5).all(), f"the rates differ: {each}"


def check_sharing(kept: NDArray[np.bool_], case: Case) -> None:
    """For a mask of unknown seed: values share a coin exactly where the pattern says.

    `kept` has the array's shape. Needs so many coins that all alike along an axis means shared;
    blocks, `exact` and `balance` tie coins together, so they are not for this check.
    """
    sizes = {n: size for n, size in case.given.items() if n not in reference.OPTIONS}
    axes, right = reference.read(case.pattern, case.shape, sizes)
    coins: dict[tuple[int, ...], bool] = {}
    for index, bit in np.ndenumerate(kept):
        coin = reference.coin_of(axes, right, index)
        assert coins.setdefault(coin, bool(bit)) == bit, f"coin {coin} differs at {index}"
    lined_up = np.zeros([1 + max(c[a] for c in coins) for a in range(len(right))], bool)
    for coin, kept_there in coins.items():
        lined_up[coin] = kept_there
    for axis, name in enumerate(right):
        if lined_up.shape[axis] > 1:
            first = np.take(lined_up, [0], axis)
            assert (lined_up != first).any(), f"all coins along {name!r} are alike"


def _some(places: NDArray[np.intp]) -> str:
    return f"{len(places)} values, such as {tuple(map(int, places[0]))}"

"""The guards are guarded: broken drops, each of which the shared checks must reject.

`checks.check_drop` is what every framework's tests call. A test that passes for the identity, or
for any other drop in this table, would be no test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mapdrop
from tests import checks
from tests.cases import BALANCE, BLOCK, EXACT, INDEPENDENT, SCALE, Case

Array = NDArray[Any]
Drop = Callable[..., Array]
# Cases with enough coins, and kept values, for each fault to show.
CASES = {
    case.name: case
    for case in (*INDEPENDENT, *EXACT, *BALANCE, *BLOCK, *SCALE)
    if case.name
    in (
        "element", "maps-channels-last", "maps-channels-first", "groups", "shared", "exact-last",
        "balance-shared", "block-2d-odd", "block-1d-even", "scale-sample", "scale-batch", "stream",
    )
}  # fmt: skip


def _identity(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return x.copy()


def _all_zeros(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return np.zeros_like(x)


def _unscaled(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return mapdrop.drop(x, pattern, p, **{**options, "scale": None})


def _scaled_twice(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return np.asarray(mapdrop.drop(x, pattern, p, **options) * x.dtype.type(1 / (1 - p)))


def _shared_by_samples(x: Array, pattern: str, p: float, **options: Any) -> Array:
    kept = np.broadcast_to(mapdrop.drop(x, pattern, p, **options)[:1] != 0, x.shape)
    return np.where(kept, x / x.dtype.type(1 - p), 0).astype(x.dtype)


def _shared_by_channels(x: Array, pattern: str, p: float, **options: Any) -> Array:
    kept = np.broadcast_to(mapdrop.drop(x, pattern, p, **options)[..., :1] != 0, x.shape)
    return np.where(kept, x / x.dtype.type(1 - p), 0).astype(x.dtype)


def _own_coin_for_each_value(x: Array, pattern: str, p: float, **options: Any) -> Array:
    names = {n: v for n, v in options.items() if n in ("seed", "stream", "step")}
    return mapdrop.drop(x, "... -> ...", p, **{**names, "step": 99})


def _depends_on_sign(x: Array, pattern: str, p: float, **options: Any) -> Array:
    """What people guess that spatial dropout does."""
    dropped = mapdrop.drop(x, pattern, p, **options)
    return np.asarray(np.where((dropped == 0) & (x < 0), x, dropped))


def _depends_on_values(x: Array, pattern: str, p: float, **options: Any) -> Array:
    """Right for the first array that a test gives; another mask for others."""
    step = options.get("step", 0) + (not checks.same_bits(x, checks.inputs(x.shape, x.dtype)))
    return mapdrop.drop(x, pattern, p, **{**options, "step": step})


def _other_rate(x: Array, pattern: str, p: float, **options: Any) -> Array:
    dropped = mapdrop.drop(x, pattern, min(1, 1.3 * p), **{**options, "scale": None})
    return np.asarray(dropped / x.dtype.type(1 - p))


def _complement(x: Array, pattern: str, p: float, **options: Any) -> Array:
    """Kept and dropped confused."""
    kept = mapdrop.drop(np.ones_like(x), pattern, p, **options) == 0
    return np.where(kept, x / x.dtype.type(1 - p), 0).astype(x.dtype)


def _other_seed(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return mapdrop.drop(x, pattern, p, **{**options, "seed": options["seed"] + 1})


def _other_step(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return mapdrop.drop(x, pattern, p, **{**options, "step": options.get("step", 0) + 1})


def _fresh_each_time(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return mapdrop.drop(x, pattern, p, **{**options, "seed": None})


def _times_a_mask(x: Array, pattern: str, p: float, **options: Any) -> Array:
    """Infinity times 0 is NaN, and a negative value times 0 is -0."""
    mask = mapdrop.drop(np.ones_like(x), pattern, p, **options)
    with np.errstate(invalid="ignore"):
        return np.asarray(x * mask, x.dtype)


def _in_place(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return mapdrop.drop(x, pattern, p, inplace=True, **options)


def _wider(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return np.asarray(mapdrop.drop(x, pattern, p, **options), np.float64)


def _moved(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return np.roll(mapdrop.drop(np.roll(x, 1, -1), pattern, p, **options), -1, -1)


def _reshaped(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return np.expand_dims(mapdrop.drop(x, pattern, p, **options), 0)


BROKEN: dict[str, Drop] = {
    "identity": _identity,
    "all zeros": _all_zeros,
    "unscaled": _unscaled,
    "scaled twice": _scaled_twice,
    "shared by samples": _shared_by_samples,
    "depends on the sign": _depends_on_sign,
    "depends on the values": _depends_on_values,
    "other rate": _other_rate,
    "complement": _complement,
    "other seed": _other_seed,
    "other step": _other_step,
    "fresh each time": _fresh_each_time,
    "times a mask": _times_a_mask,
    "in place": _in_place,
    "wider dtype": _wider,
    "other shape": _reshaped,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("drop", BROKEN.values(), ids=BROKEN)
def test_broken_drop_is_rejected(drop: Drop, case: Case) -> None:
    with pytest.raises(AssertionError):
        checks.check_drop(drop, np.asarray, np.asarray, case)


CHANNELS = ("element", "maps-channels-last", "shared", "exact-last", "balance-shared", "stream")


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("drop", [_shared_by_channels, _moved], ids=["shared", "moved"])
def test_broken_along_channels_is_rejected(drop: Drop, name: str) -> None:
    with pytest.raises(AssertionError, match=r"dropped where kept|is not x \* scale"):
        checks.check_drop(drop, np.asarray, np.asarray, CASES[name])


SHARING = ("maps-channels-last", "maps-channels-first", "groups", "shared", "scale-sample")


@pytest.mark.parametrize("name", SHARING)
def test_own_coins_where_shared_are_rejected(name: str) -> None:
    with pytest.raises(AssertionError, match="dropped where kept"):
        checks.check_drop(_own_coin_for_each_value, np.asarray, np.asarray, CASES[name])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_right_drop_is_accepted(case: Case) -> None:
    checks.check_drop(mapdrop.drop, np.asarray, np.asarray, case)


# --- The same for masks of unknown seeds.


def _kept(drop: Drop, case: Case) -> NDArray[np.bool_]:
    x = checks.inputs(case.shape)
    return np.asarray(drop(x, case.pattern, case.p, **case.options) != 0)


@pytest.mark.parametrize("name", ["element", *SHARING])
def test_sharing_is_accepted(name: str) -> None:
    checks.check_sharing(_kept(mapdrop.drop, CASES[name]), CASES[name])


@pytest.mark.parametrize("name", SHARING)
def test_not_sharing_is_rejected(name: str) -> None:
    with pytest.raises(AssertionError, match="differs at"):
        checks.check_sharing(_kept(_own_coin_for_each_value, CASES[name]), CASES[name])


@pytest.mark.parametrize("name", ["element", *SHARING])
@pytest.mark.parametrize("drop", [_identity, _all_zeros, _shared_by_samples])
def test_too_much_sharing_is_rejected(name: str, drop: Drop) -> None:
    with pytest.raises(AssertionError, match=r"are alike|differs at"):
        checks.check_sharing(_kept(drop, CASES[name]), CASES[name])

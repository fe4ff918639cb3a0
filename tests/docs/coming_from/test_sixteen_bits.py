"""The rates in 16 bits: what the old calls really drop, as the page's table says, and we do not.

An old call compares uniform numbers of few bits with p, so its rate is a fraction that can be
counted: `counted` does, over all the numbers that the framework can draw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import framework
from tests.docs.coming_from import cases, page
from tests.docs.coming_from.cases import (
    COPIED_PATH,
    DROP_PATH,
    KERAS,
    OLD_TIMM_BLOCK,
    SPATIAL_DROPOUT,
    STOCHASTIC_DEPTH,
    TF_DROPOUT,
)
from tests.docs.coming_from.law import Drop
from tests.integration.test_statistics import accept, reject

# What TensorFlow and PyTorch draw: multiples of one part in so many.
TENSORFLOW = {"bfloat16": 1 << 7, "float16": 1 << 10}
TORCH = {"bfloat16": 1 << 8, "float16": 1 << 11}
COINS = 1 << 20
Numbers = NDArray[Any]


def _compared(u: Numbers, p: float) -> Numbers:
    """Kept where u >= p, in u's dtype."""
    return np.asarray(u >= u.dtype.type(p))


def _floored(u: Numbers, p: float) -> Numbers:
    """Kept where keep + u, in u's dtype, is 1 or more; keep is rounded to it first."""
    return np.asarray(u.dtype.type(1 - p) + u >= 1)


def _floored_once(u: Numbers, p: float) -> Numbers:
    """The same, but PyTorch adds a Python number in float32, and then rounds."""
    return np.asarray((np.float32(1 - p) + u.astype(np.float32)).astype(u.dtype) >= 1)


Keeps = Callable[[Numbers, float], Numbers]
# The entry and its block, a shape of COINS coins and how many calls tell the rates apart, what is
# drawn and how it is compared.
CALLS: dict[str, tuple[str, int, tuple[int, ...], int, dict[str, int], Keeps]] = {
    "`tf.nn.dropout(noise_shape=)`": (TF_DROPOUT, 0, (1024, 1, 1, 1024), 1, TENSORFLOW, _compared),
    "`SpatialDropout2D`": (KERAS, 1, (1024, 1, 1, 1024), 1, TENSORFLOW, _compared),
    "`spatial_dropout`": (SPATIAL_DROPOUT, 0, (1024, 1, 1, 1024), 1, TENSORFLOW, _floored),
    "`drop_path`": (COPIED_PATH, 0, (COINS, 1), 4, TORCH, _floored_once),
}
ROWS = [row for row in page.table("The rate in 16 bits") if not row[0].startswith(OLD_TIMM_BLOCK)]


def counted(keeps: Keeps, dtype: str, parts: int, p: float) -> float:
    """The fraction of all uniform numbers that drop."""
    kind = np.float16 if dtype == "float16" else framework("ml_dtypes").bfloat16
    return 1 - float(keeps((np.arange(parts) / parts).astype(kind), p).mean())


def dropped(drop: Drop, shape: tuple[int, ...], draws: int) -> int:
    x = np.ones(shape, np.float32)
    return sum(int((drop(x) == 0).sum()) for _ in range(draws))


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_rate(row: list[str]) -> None:
    name, dtype, told, figure, ours = row
    heading, number, shape, draws, parts, keeps = CALLS[name]
    p = float(told)
    made = cases.turned(heading, number, p, dtype)
    truly = counted(keeps, dtype, parts[dtype], p)
    assert f"{truly:.4f}" == f"{float(figure):.4f}"
    old = dropped(made.old, shape, draws)
    accept(old, draws * COINS, truly)
    reject(old, draws * COINS, p)
    assert ours == told
    accept(dropped(made.new, shape, draws), draws * COINS, p)


def test_every_call_has_its_row() -> None:
    assert {row[0] for row in ROWS} == set(CALLS)


# --- The scale, where the coins are right.

SCALED = {"StochasticDepth": (STOCHASTIC_DEPTH, 0), "stochastic_depth": (STOCHASTIC_DEPTH, 1),
          "DropPath": (DROP_PATH, 0)}  # fmt: skip


@pytest.mark.parametrize(("heading", "number"), SCALED.values(), ids=SCALED)
def test_scale_is_rounded_first(heading: str, number: int) -> None:
    """On all 128 numbers of bfloat16 from 1 to 2, so that what they are rounded to averages out."""
    x = np.tile(1 + np.arange(128, dtype=np.float32) / 128, (64, 1))
    made = cases.turned(heading, number, 0.1, "bfloat16")

    def mean_scale(drop: Drop) -> float:
        y = drop(x)
        return float(y.sum() / x[y[:, 0] != 0].sum())

    assert abs(mean_scale(made.new) * 0.9 - 1) < 2e-4
    fall = 1 - mean_scale(made.old) * 0.9
    assert abs(fall - 0.0016) < 2e-4
    rounded = float(np.asarray(1 / 0.9, framework("ml_dtypes").bfloat16))
    assert (
        f"it is {rounded:.4f} instead of {1 / 0.9:.4f}, and the mean falls by 0.16 %" in page.TEXT
    )

"""What the backward pass keeps of a drop: no more than a bit for each coin."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import tensorflow as tf

import mapdrop
from tests.backends.tensorflow.modes import OFTEN


def _resident() -> int:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # Of the GNU C library.
    if trim is not None:
        trim(0)  # What was freed goes back to the system.
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _kept_for_backward(drop: Callable[[Any], Any], earlier: int = 1) -> float:
    """What a chain of 5 layers keeps, in arrays of its input's size: the result is one.

    The median of several measurements, as TensorFlow's threads may free theirs in between.
    """
    return median(_measured(drop, earlier) for _ in range(3))


def _measured(drop: Callable[[Any], Any], earlier: int) -> float:
    x = tf.ones([40, 2**18])  # 40 MiB: as large as what is given back to the system when freed.
    with tf.GradientTape() as tape:
        tape.watch(x)
        for _ in range(earlier):
            drop(x)  # What the first call takes, it keeps.
        gc.collect()
        start, y = _resident(), x
        for _ in range(5):
            y = drop(y)
        gc.collect()
        kept = (_resident() - start) / (40 << 20)
    assert tape.gradient(y, x).shape == x.shape
    return kept


@pytest.mark.parametrize("calls", [1, OFTEN])
@pytest.mark.parametrize("pattern", ["b c -> b c", "b c -> b"])
def test_the_result_stays_and_a_bit_for_each_coin(pattern: str, calls: int) -> None:
    # A byte for each would make it 2.25. Less than the result, and the measure sees nothing.
    assert 0.9 < _kept_for_backward(lambda z: mapdrop.drop(z, pattern, 0.1), calls) < 1.9


def test_what_stays_twin() -> None:
    assert _kept_for_backward(lambda z: tf.nn.dropout(z, 0.1)) > 4

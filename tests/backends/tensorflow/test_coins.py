"""Many coins: they are drawn part by part, and packed for backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import mapdrop
from mapdrop.backends.tensorflow import coins
from mapdrop.backends.tensorflow.packed_bits import pack, unpack


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("shape", [(0,), (3,), (2**14,), (5, 3277), (127, 1, 130)])
def test_packed_coins_come_back(shape: tuple[int, ...], unknown: bool) -> None:
    made = tf.random.uniform(shape) < 0.3
    signature = [tf.TensorSpec([None] * len(shape) if unknown else shape, tf.bool)]
    bits = tf.function(pack, input_signature=signature)(made)
    if made.shape.num_elements() >= 2**14:
        assert (bits.dtype, bits.shape) == (tf.uint8, [-(-made.shape.num_elements() // 8)])
    assert np.array_equal(unpack(bits, tf.constant(shape, tf.int64)), made)


@pytest.mark.parametrize("parts", [16, 3])
@pytest.mark.parametrize("size", [2**21, 2**22 + 1, 2**22 + 999_999])
def test_parts_have_the_bits_of_the_whole(size: int, parts: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(coins, "_PARTS", parts)
    with tf.GradientTape() as tape:
        x = tf.Variable(tf.ones([size]))
        y = mapdrop.drop(x, "n -> n", 0.3, seed=5, step=2)
    mask = mapdrop.mask("n -> n", (size,), 0.3, seed=5, step=2)
    assert np.array_equal(y, mask.apply(np.ones(size, np.float32)))
    assert np.array_equal(tape.gradient(y, x), y)


@pytest.mark.parametrize(("alone", "drawn"), [(True, 4), (False, 1)])
def test_parts_are_drawn_on_cpus_alone(alone: bool, drawn: int, monkeypatch: Any) -> None:
    calls, words = [], coins.words

    def counted(*given: Any) -> Any:
        calls.append(given)
        return words(*given)

    monkeypatch.setattr(coins, "words", counted)
    monkeypatch.setattr(coins, "only_cpus", lambda: alone)
    mapdrop.drop(tf.ones([2**22]), "n -> n", 0.3)
    assert len(calls) == drawn

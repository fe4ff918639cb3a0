"""Rates that a graph reads when it runs, as Keras' layers have them under a schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import mapdrop
import mapdrop.backends.tensorflow as backend
from tests import checks
from tests.backends.variable_rate import at_run_time
from tests.cases import ALL, Case

RATES = (0.0, 1e-9, 0.1, 1 / 3, 0.5, 0.9, 1 - 1e-9, 1.0)
PATTERN = "b c -> b c"


def words(pair: tuple[int, int]) -> Any:
    return tf.constant(pair, tf.int64)


def in_graph(unknown: bool = False, xla: bool = False) -> Any:
    def compile_(function: Any, x: Any) -> Any:
        shape = [None] * x.shape.rank if unknown else x.shape
        signature = [tf.TensorSpec(shape, x.dtype), tf.TensorSpec([2], tf.int64)]
        return tf.function(function, input_signature=signature, jit_compile=xla)

    return compile_


MODES = {
    "eager": at_run_time(backend, words, lambda function, _: function),
    "graph, sizes unknown": at_run_time(backend, words, in_graph(unknown=True)),
    "XLA": at_run_time(backend, words, in_graph(xla=True)),
}
modes = pytest.mark.parametrize("mode", MODES)


@modes
@pytest.mark.parametrize("case", ALL, ids=str)
def test_drop(case: Case, mode: str) -> None:
    checks.check_drop(MODES[mode], tf.constant, lambda x: x.numpy(), case)


@modes
@pytest.mark.parametrize("options", [{}, {"exact": "c"}, {"balance": "c"}, {"block": {"c": 3}}])
def test_one_graph_has_the_mask_of_each_rate(options: dict[str, Any], mode: str) -> None:
    x = checks.inputs((6, 10))
    for p in RATES:
        wanted = mapdrop.mask(PATTERN, x.shape, p, seed=3, **options).apply(x)
        came = MODES[mode](tf.constant(x), PATTERN, p, seed=3, **options)
        assert checks.same_bits(came.numpy(), wanted)


@modes
def test_the_gradient_has_the_mask(mode: str) -> None:
    x = tf.constant(checks.inputs((6, 10)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = MODES[mode](x, PATTERN, 0.3, seed=7)
    wanted = mapdrop.mask(PATTERN, x.shape, 0.3, seed=7).apply(np.ones(x.shape, np.float32))
    assert np.array_equal(tape.gradient(y, x), wanted)

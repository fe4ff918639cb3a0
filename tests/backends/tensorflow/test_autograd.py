"""Gradients: the mask of the forward pass, drawn once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

import mapdrop
from tests.backends.tensorflow.modes import often

PATTERNS = ["b c h w -> b c", "b c h w -> b h w c", "b c h w -> b", "b c h w -> c w"]
EAGER: dict[str, Callable[[Any], Any]] = {"eager": lambda function: function, "often": often}
WAYS = {
    **EAGER,
    "graph": tf.function,
    "XLA": tf.function(jit_compile=True),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
eagerly = pytest.mark.parametrize("way", EAGER.values(), ids=EAGER)


def mask_of(x: Any, pattern: str, p: float, **options: Any) -> Any:
    """What kept values are multiplied by, as the mask object says: an array of x's shape."""
    ones = np.ones(tuple(x.shape), x.dtype.as_numpy_dtype)
    return mapdrop.mask(pattern, x.shape, p, **options).apply(ones)


def gradient(function: Callable[[Any], Any], x: Any, upstream: Any = None) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x, output_gradients=upstream)


@ways
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_gradient_is_the_mask_times_the_scale(pattern: str, way: Callable[[Any], Any]) -> None:
    x, weight = tf.random.normal([4, 6, 5, 3]), tf.random.normal([4, 6, 5, 3])
    run = way(lambda z: gradient(lambda v: mapdrop.drop(v, pattern, 0.3, seed=5), z, weight))
    expected = mask_of(x, pattern, 0.3, seed=5) * weight
    assert np.array_equal(run(x), expected)
    assert 0 < np.sum(expected == 0) < x.shape.num_elements()


@ways
def test_of_a_batch_whose_size_is_unknown(way: Callable[[Any], Any]) -> None:
    def one(x: Any) -> Any:
        return gradient(lambda v: mapdrop.drop(v, "b (g 2) -> b g", 0.5, seed=5, balance="b"), x)

    run = tf.function(way(one), input_signature=[tf.TensorSpec([None, 8])])
    for batch in (6, 2):
        x = tf.ones([batch, 8])
        expected = mask_of(x, "b (g 2) -> b g", 0.5, seed=5, balance="b")
        assert np.array_equal(run(x), expected)


@ways
def test_forward_and_backward_of_a_fresh_seed_have_one_mask(way: Callable[[Any], Any]) -> None:
    def both(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = mapdrop.drop(x, "b c -> b c", 0.5)
        return y, tape.gradient(y, x)

    run, masks = way(both), set()
    for _ in range(4):
        y, g = run(tf.ones([8, 16]))
        assert np.array_equal(y, g)
        masks.add(g.numpy().tobytes())
    assert len(masks) == 4


@eagerly
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_second_order(pattern: str, way: Callable[[Any], Any]) -> None:
    x = tf.random.normal([2, 3, 2, 2], dtype=tf.float64)

    def slope(z: Any) -> Any:
        return gradient(lambda v: mapdrop.drop(v, pattern, 0.4, seed=9) ** 3, z)

    mask = mask_of(x, pattern, 0.4, seed=9)
    second = way(lambda z: gradient(slope, z))
    np.testing.assert_allclose(second(x), 6 * mask**3 * x, rtol=1e-12)


@eagerly
def test_forward_mode(way: Callable[[Any], Any]) -> None:
    x, tangent = tf.random.normal([8]), tf.random.normal([8])

    def pushed() -> Any:
        with tf.autodiff.ForwardAccumulator(x, tangent) as forward:
            y = mapdrop.drop(x, "n -> n", 0.5, seed=1)
        return forward.jvp(y)

    assert np.array_equal(way(pushed)(), mask_of(x, "n -> n", 0.5, seed=1) * tangent)


@eagerly
def test_of_a_variable(way: Callable[[Any], Any]) -> None:
    variable = tf.Variable(tf.random.normal([4, 6]))
    run = way(lambda: gradient(lambda v: mapdrop.drop(v, "b c -> b c", 0.5, seed=1), variable))
    assert np.array_equal(run(), mask_of(variable, "b c -> b c", 0.5, seed=1))


@ways
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_p_1_gives_zeros_and_zero_gradients(dtype: Any, way: Callable[[Any], Any]) -> None:
    x = tf.cast(tf.random.normal([4, 8, 3]), dtype)
    every: list[dict[str, Any]] = [{}, {"scale": "batch"}, {"scale": "sample"}, {"exact": "c"}]
    for options in [*every, {"balance": "b"}]:
        run = way(
            lambda z, o=options: gradient(lambda v: mapdrop.drop(v, "b c t -> b c", 1, **o), z)
        )
        assert not np.any(mapdrop.drop(x, "b c t -> b c", 1.0, **options))
        assert np.array_equal(run(x), np.zeros(x.shape))


@ways
def test_nan_under_dropped_coins_has_gradient_plus_0(way: Callable[[Any], Any]) -> None:
    x = tf.fill([4, 16, 5], float("nan"))
    run = way(lambda z: gradient(lambda v: mapdrop.drop(v, "b c t -> b c", 0.5, seed=1), z, z))
    came = run(x).numpy()
    dropped = mask_of(x, "b c t -> b c", 0.5, seed=1) == 0
    assert (came[dropped].view(np.uint32) == 0).all()
    assert np.isnan(came[~dropped]).all()


@eagerly
def test_a_part_that_is_recomputed_has_the_same_mask(way: Callable[[Any], Any]) -> None:
    x = tf.random.normal([8, 16])
    part = tf.recompute_grad(lambda z: mapdrop.drop(z, "b c -> b c", 0.5, seed=1) ** 2)
    expected = 2 * mask_of(x, "b c -> b c", 0.5, seed=1) ** 2 * x
    assert np.array_equal(way(lambda z: gradient(part, z))(x), expected)


def _draws(step: Callable[[Any, Any], Any]) -> int:
    """How many operations that draw words are left of a function when it is optimized."""
    run = tf.function(step)
    context.context().enable_run_metadata()
    try:
        run(tf.ones([5, 64]), tf.constant(3))  # A seed that is no constant of the graph's.
        graphs = context.context().export_run_metadata().partition_graphs
    finally:
        context.context().disable_run_metadata()
    return sum("FullInt" in node.op for graph in graphs for node in graph.node)


def test_a_graph_draws_once_for_both_passes() -> None:
    def step(x: Any, seed: Any) -> Any:
        return gradient(lambda v: mapdrop.drop(v, "b c -> b c", 0.5, seed=seed) ** 2, x)

    assert _draws(step) == 1


def test_draws_of_a_graph_twin() -> None:
    def twice(x: Any, seed: Any) -> Any:
        once = mapdrop.drop(x, "b c -> b c", 0.5, seed=seed)
        return mapdrop.drop(once, "b c -> b c", 0.5, seed=seed + 1)

    assert _draws(twice) == 2

"""`mapdrop.residual` in graphs: sizes that are known late, and branches that keep nobody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import mapdrop

X = tf.constant(np.random.default_rng(0).standard_normal((8, 3)))


def graph(function: Any, *shapes: Any) -> Any:
    signature = [tf.TensorSpec(shape, tf.float64) for shape in shapes]
    return tf.function(function, input_signature=signature, autograph=False)


@pytest.mark.parametrize("rows", [7, 12])
def test_inputs_of_other_samples_are_refused_when_the_graph_runs(rows: int) -> None:
    def added(x: Any, own: Any) -> Any:
        return mapdrop.residual(lambda x, own: x * own, x, 0.3, inputs=(own,), seed=1)

    call = graph(added, (None, 3), (None, 3))
    wanted = X + mapdrop.drop(2 * X, "b ... -> b", 0.3, seed=1)
    assert np.array_equal(call(X, 2 * tf.ones((8, 3), tf.float64)), wanted)
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many samples"):
        call(X, tf.ones((rows, 3), tf.float64))


def test_a_branch_of_another_shape_is_refused_when_the_graph_runs() -> None:
    call = graph(lambda x: mapdrop.residual(lambda x: x[:1], x, 0.3, seed=1), (None, 3))
    with pytest.raises(tf.errors.InvalidArgumentError, match="the shape that it is given"):
        call(X)


def test_arrays_of_unknown_rank() -> None:
    def added(x: Any, own: Any) -> Any:
        return mapdrop.residual(lambda x, own: x * own, x, 0.3, "b c -> b", inputs=(own,), seed=1)

    wanted = X + mapdrop.drop(X * X, "b c -> b", 0.3, seed=1)
    found = graph(added, None, None)(X, X)
    assert np.array_equal(found, wanted)
    assert not np.array_equal(found, X)


@pytest.mark.parametrize("xla", [False, True])
def test_a_convolution_that_keeps_nobody_trains(xla: bool) -> None:
    """TensorFlow's own gradient of one fails for an empty batch, in a graph on the CPU."""
    images = tf.constant(np.random.default_rng(0).standard_normal((4, 6, 6, 2)), tf.float32)
    weight = tf.Variable(np.random.default_rng(1).standard_normal((3, 3, 2, 2)), dtype=tf.float32)

    @tf.function(autograph=False, jit_compile=xla)
    def step(images: Any, seed: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(images)
            branch = lambda x: tf.nn.conv2d(x, weight, 1, "SAME")  # noqa: E731
            y = mapdrop.residual(branch, images, 0.8, seed=seed)
            loss = tf.reduce_sum(y**2)
        return y, *tape.gradient(loss, [images, weight])

    kept = []
    for seed in range(12):
        y, of_images, of_weight = step(images, tf.constant(seed, tf.int64))
        kept.append(int(np.any(y != images, (1, 2, 3)).sum()))
        if kept[-1] == 0:
            assert np.array_equal(of_images, 2 * images)
            assert not np.any(of_weight)
    assert 0 < kept.count(0) < len(kept)

"""Keras' layers against Keras' own, on the backend that Keras was imported with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import mapdrop.keras
from benchmarks.row import Row, Work

SHAPE = (32, 56, 56, 64)
KINDS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "Dropout": (lambda: mapdrop.keras.Dropout(0.5), lambda: keras.layers.Dropout(0.5)),
    "SpatialDropout2D": (
        lambda: mapdrop.keras.SpatialDropout2D(0.5),
        lambda: keras.layers.SpatialDropout2D(0.5),
    ),
}


def _tensorflow(layer: Any, x: Any) -> Work:
    import tensorflow as tf

    run = tf.function(lambda x: layer(x, training=True), autograph=False)
    return lambda: run(x)


def _torch(layer: Any, x: Any) -> Work:
    return lambda: layer(x, training=True)


def _jax(layer: Any, x: Any) -> Work:
    import jax

    def call(state: Any, x: Any) -> Any:
        return layer.stateless_call([], state, x, training=True)

    run, state = jax.jit(call), [v.value for v in layer.non_trainable_variables]

    def work() -> object:
        nonlocal state
        y, state = run(state, x)
        return y.block_until_ready()

    return work


def _row(kind: str) -> Row:
    backend = keras.backend.backend()
    called = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}[backend]

    def make() -> dict[str, Work]:
        x = keras.ops.convert_to_tensor(np.random.randn(*SHAPE).astype("float32"))
        layers = {"mapdrop": KINDS[kind][0](), "Keras' own": KINDS[kind][1]()}
        for layer in layers.values():
            layer(x, training=True)
        return {name: called(layer, x) for name, layer in layers.items()}

    return Row(f"Keras {kind} on {backend}", make, "Keras' own", 1.05, rounds=15)


def rows() -> list[Row]:
    """Ordinary and spatial dropout, as each backend calls a layer in training."""
    return [_row(kind) for kind in KINDS]

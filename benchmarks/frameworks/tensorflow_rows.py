"""TensorFlow against tf.nn.dropout, in a tf.function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

import mapdrop
from benchmarks.row import Row, Work

SHAPE = (32, 56, 56, 256)
P = 0.5
Drop = Callable[[Any], Any]
# work: ours, TensorFlow's own
KINDS: dict[str, tuple[Drop, Drop]] = {
    "element-wise": (
        lambda x: mapdrop.drop(x, "b h w c -> b h w c", P),
        lambda x: tf.nn.dropout(x, P),
    ),
    "spatial": (
        lambda x: mapdrop.drop(x, "b h w c -> b c", P),
        lambda x: tf.nn.dropout(x, P, noise_shape=(SHAPE[0], 1, 1, SHAPE[-1])),
    ),
}


def _work(drop: Drop, x: Any, upstream: Any | None) -> Work:
    """Forward, or with a gradient that is there already forward and backward."""

    @tf.function(autograph=False)
    def forward(x: Any) -> Any:
        return drop(x)

    @tf.function(autograph=False)
    def both(x: Any, upstream: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = drop(x)
        return y, tape.gradient(y, x, output_gradients=upstream)

    return (lambda: forward(x)) if upstream is None else (lambda: both(x, upstream))


def _row(kind: str, dtype: str, both: bool) -> Row:
    ours, theirs = KINDS[kind]

    def make() -> dict[str, Work]:
        x = tf.cast(tf.random.normal(SHAPE), dtype)
        upstream = tf.cast(tf.random.normal(SHAPE), dtype) if both else None
        copy = tf.function(lambda: -x, autograph=False)
        return {
            "mapdrop": _work(ours, x, upstream),
            "tf.nn.dropout": _work(theirs, x, upstream),
            "negation": copy,
        }

    direction = "forward and backward" if both else "forward"
    wide = "" if dtype == "float32" else f", {dtype}"
    name = f"TensorFlow {kind}{wide}, {direction}"
    return Row(name, make, "tf.nn.dropout", 1.0, rounds=9, limit="negation")


def rows() -> list[Row]:
    """Element-wise and spatial, in two dtypes, forward and with the gradient."""
    return [
        _row(kind, dtype, both)
        for dtype in ("float32", "bfloat16")
        for kind in KINDS
        for both in (False, True)
    ]

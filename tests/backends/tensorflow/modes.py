"""The ways in which TensorFlow runs a function; each gives a drop like `mapdrop.drop`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

import mapdrop

Drop = Callable[..., Any]
OFTEN = 20
"""Eager calls after which a drop has been traced."""


def often(function: Drop) -> Drop:
    """Return a function that calls this so often that an eager drop in it has been traced."""
    return lambda *args, **options: [function(*args, **options) for _ in range(OFTEN)][-1]


def graph(drop: Drop, unknown: bool = False, xla: bool = False) -> Drop:
    """In a tf.function; `unknown`: its signature says nothing but the number of axes."""
    traced: dict[Any, Any] = {}

    def run(x: Any, pattern: str, p: float, **options: Any) -> Any:
        key = pattern, p, repr(options), x.dtype, tuple(x.shape)
        if key not in traced:
            shape = [None] * x.shape.rank if unknown else x.shape
            traced[key] = tf.function(
                lambda z: drop(z, pattern, p, **options),
                input_signature=[tf.TensorSpec(shape, x.dtype)],
                jit_compile=xla,
            )
        return traced[key](x)

    return run


MODES: dict[str, Drop] = {
    "eager": mapdrop.drop,
    "eager, often": often(mapdrop.drop),
    "graph, sizes unknown": graph(mapdrop.drop, unknown=True),
    "XLA": graph(mapdrop.drop, xla=True),
    "XLA, sizes unknown": graph(mapdrop.drop, unknown=True, xla=True),
}

"""Keras' layers against Keras' own, on the backend that Keras was imported with."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

import mapdrop.keras
from mapdrop.tools.bench.case import FORWARD, Case, Work, Works
from mapdrop.tools.bench.ways import elsewhere


def cases() -> Iterator[Case]:
    """Forward, as a layer in training is called; the gradients are the backends' own."""
    return elsewhere.cases(("element", "spatial", "path"), (FORWARD,))


def works(case: Case) -> Works:
    """Ours, Keras' own layer, and a negation."""
    turn = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}[keras.backend.backend()]
    x = keras.ops.convert_to_tensor(np.random.randn(*case.size).astype("float32"))
    ours, name, theirs = _layers(case)
    negation = Negation()
    for layer in (ours, theirs, negation):
        layer(x, training=True)
    return Works(turn(ours, x), {name: turn(theirs, x)}, ("a negation", turn(negation, x)))


def versions() -> dict[str, str]:
    """Of what takes part."""
    backend = keras.backend.backend()
    return {"keras": keras.__version__, backend: importlib.import_module(backend).__version__}


class Negation(keras.layers.Layer):
    """The least that a layer can do to all values."""

    def call(self, x: Any, training: bool = False) -> Any:
        """-x."""
        return -x


def _layers(case: Case) -> tuple[Any, str, Any]:
    p, layers = case.law.p, keras.layers
    if case.operation == "element":
        return mapdrop.keras.Dropout(p), "Keras' own", layers.Dropout(p)
    if case.operation == "path":
        noise = (case.shape.batch, *(1,) * len(case.shape.places), 1)
        return mapdrop.keras.DropPath(p), "Keras' own", layers.Dropout(p, noise)
    name = f"SpatialDropout{len(case.shape.places)}D"
    ours = getattr(mapdrop.keras, name)(p, data_format="channels_last")
    theirs = getattr(layers, name)
    # Keras' layer for sequences takes no data format.
    kwargs = {} if name == "SpatialDropout1D" else {"data_format": "channels_last"}
    return ours, "Keras' own", theirs(p, **kwargs)


def _tensorflow(layer: Any, x: Any) -> Work:
    import tensorflow as tf

    run = tf.function(lambda x: layer(x, training=True), autograph=False)
    return Work(lambda: run(x))


def _torch(layer: Any, x: Any) -> Work:
    from mapdrop.tools.memory import peak

    run: Callable[[], Any] = partial(layer, x, training=True)
    return Work(run, partial(peak, run))


def _jax(layer: Any, x: Any) -> Work:
    import jax

    from mapdrop.tools.bench.ways.jax import peak

    def call(state: Any, x: Any) -> Any:
        return layer.stateless_call([], state, x, training=True)

    run, state = jax.jit(call), [v.value for v in layer.non_trainable_variables]

    def work() -> object:
        nonlocal state
        y, state = run(state, x)
        return y.block_until_ready()

    return Work(work, lambda: peak(run, state, x))

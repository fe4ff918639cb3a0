"""Keras' layers on the backend that KERAS_BACKEND names, called, and in a compiled model."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from mapdrop.keras import Drop
from mapdrop.tools.check.bits import Bits, from_floats, to_floats
from mapdrop.tools.check.cases import Case
from mapdrop.tools.check.ways.way import Step, Way


def versions() -> dict[str, str]:
    """Of what takes part."""
    backend = keras.backend.backend()
    return {"keras": keras.__version__, backend: importlib.import_module(backend).__version__}


def ways() -> Iterator[Way]:
    """Two, on the device that Keras chooses."""
    eager = Way(
        "layer",
        _array,
        _bits,
        _device(),
        step=_layer,
        own=InTraining(keras.layers.Dropout(0.5)),
        own_name="keras.layers.Dropout",
        ready=_ready,
        layer=True,
    )
    yield eager
    if keras.backend.backend() != "torch":  # There Keras runs a model as it is.
        yield replace(eager, mode="compiled", together=_model, compiled=True)


def _device() -> str:
    x: Any = keras.ops.ones(1)
    if keras.backend.backend() == "jax":
        (device,) = x.devices()
        name = f"{device.platform}:{device.id}"
    else:
        name = str(x.device).rpartition("device:")[2].lower()
    return "cpu" if name.startswith("cpu") else name


def _array(bits: Bits, dtype: str) -> Any:
    return keras.ops.convert_to_tensor(to_floats(bits, dtype), dtype)


def _bits(y: Any) -> Bits:
    values = np.asarray(keras.ops.convert_to_numpy(y), np.float32)
    return from_floats(values, keras.backend.standardize_dtype(y.dtype))


def _ready(y: Any) -> Any:
    """One of its values is read, for which each backend waits."""
    return keras.ops.convert_to_numpy(keras.ops.reshape(y, (-1,))[:1])


class InTraining(keras.layers.Layer):
    """A layer that is always in training."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, x: Any) -> Any:
        """The layer's own result."""
        return self.layer(x, training=True)


def _layer(case: Case) -> Step:
    layer = Drop(case.pattern, case.p, dtype=case.dtype, **case.options)
    step: Step = InTraining(layer)
    return step


def _model(steps: Sequence[Step]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """A model that drops when it predicts: of what Keras compiles, that hands out its results."""
    model = Together(steps)
    model.compile(jit_compile=True)
    run: Callable[[Sequence[Any]], Sequence[Any]] = model.predict_on_batch
    return run


class Together(keras.Model):
    """Each array through its layer."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps = list(steps)

    def call(self, xs: Sequence[Any]) -> list[Any]:
        """As many arrays as came."""
        return [step(x) for step, x in zip(self.steps, xs, strict=True)]

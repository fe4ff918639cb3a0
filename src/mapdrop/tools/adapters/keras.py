"""Keras' layers on the backend that KERAS_BACKEND names, called, and in a compiled model."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import keras
import numpy as np

import mapdrop.keras
from mapdrop.tools.adapters import adapter as base
from mapdrop.tools.adapters.adapter import Array, Drop, Program, Work
from mapdrop.tools.adapters.bits import Bits, from_floats, to_floats
from mapdrop.tools.drop_kinds import DropKind


class InTraining(keras.layers.Layer):
    """A layer that is always in training."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, x: Array) -> Array:
        """The layer's own result."""
        return self.layer(x, training=True)


class Together(keras.Model):
    """Each array through its layer."""

    def __init__(self, layers_of_arrays: Sequence[Drop]) -> None:
        super().__init__()
        self.layers_of_arrays: list[Drop] = list(layers_of_arrays)

    def call(self, arrays: Sequence[Array]) -> list[Array]:
        """As many arrays as came."""
        return base.one_by_one(self.layers_of_arrays)(arrays)


class Negation(keras.layers.Layer):
    """The least that a layer can do to all values."""

    def call(self, x: Array, training: bool = False) -> Array:
        """-x."""
        return -x


class Adapter(base.Adapter):
    """Keras on the device that it chooses, against its own layers. Gradients are its backends'."""

    modes: tuple[str, ...] = ("layer", "compiled")
    compiled: ClassVar[tuple[str, ...]] = ("compiled",)
    layers = True
    dropout_name = "keras.layers.Dropout"
    gradients = False

    @classmethod
    def found(cls) -> Iterator[base.Adapter]:
        """See `Adapter`."""
        adapter = cls(_device())
        if keras.backend.backend() == "torch":  # There Keras runs a model as it is.
            adapter.modes = ("layer",)
        yield adapter

    @staticmethod
    def versions() -> dict[str, str]:
        """See `Adapter`."""
        backend = keras.backend.backend()
        return {"keras": keras.__version__, backend: importlib.import_module(backend).__version__}

    def to_array(self, bits: Bits, dtype: str) -> Array:
        """See `Adapter`."""
        return keras.ops.convert_to_tensor(to_floats(bits, dtype), dtype)

    def to_bits(self, array: Array) -> Bits:
        """See `Adapter`."""
        values = np.asarray(keras.ops.convert_to_numpy(array), np.float32)
        return from_floats(values, keras.backend.standardize_dtype(array.dtype))

    def drop(self, pattern: str, p: float, options: Mapping[str, Any], dtype: str) -> Drop:
        """See `Adapter`."""
        layer: Drop = InTraining(mapdrop.keras.Drop(pattern, p, dtype=dtype, **options))
        return layer

    def own_dropout(self) -> Drop:
        """See `Adapter`."""
        layer: Drop = InTraining(keras.layers.Dropout(0.5))
        return layer

    def program(self, mode: str, drops: Sequence[Drop]) -> Program:
        """See `Adapter`. Of what Keras compiles, prediction alone hands out the results."""
        if mode == "layer":
            return base.one_by_one(drops)
        model = Together(drops)
        model.compile(jit_compile=True)
        run: Program = model.predict_on_batch
        return run

    def wait(self, array: Array) -> Array:
        """See `Adapter`. To read one of the values each backend waits."""
        return keras.ops.convert_to_numpy(keras.ops.reshape(array, (-1,))[:1])

    def random(self, size: tuple[int, ...], dtype: str, layout: str) -> Array:
        """See `Adapter`."""
        return keras.ops.convert_to_tensor(np.random.randn(*size).astype("float32"))

    def ours(self, kind: DropKind, size: tuple[int, ...]) -> Drop:
        """See `Adapter`."""
        layer: Drop = kind.make_layer(mapdrop.keras, f"{len(size) - 2}D", **_format(kind))
        return layer

    def peers(self, kind: DropKind, size: tuple[int, ...]) -> dict[str, Drop]:
        """See `Adapter`."""
        layers, dims = keras.layers, len(size) - 2
        if kind.name == "spatial":
            # Keras' layer for sequences takes no data format.
            options = _format(kind) if dims > 1 else {}
            layer: Drop = kind.make_layer(layers, f"{dims}D", **options)
        else:
            shape = kind.mask_shape(size)
            layer = layers.Dropout(kind.p, None if shape == size else shape)
        return {"Keras' own": layer}

    def work(self, drop: Drop, array: Array, backward: bool) -> Work:
        """See `Adapter`. A layer is called as its backend's users train it."""
        drop(array, training=True)  # Builds it.
        return {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}[keras.backend.backend()](
            drop, array
        )

    def copy(self, array: Array, passes: int) -> tuple[str, Work]:
        """See `Adapter`."""
        return "a negation", self.work(Negation(), array, backward=False)


def _device() -> str:
    x: Array = keras.ops.ones(1)
    if keras.backend.backend() == "jax":
        (device,) = x.devices()
        name = f"{device.platform}:{device.id}"
    else:
        name = str(x.device).rpartition("device:")[2].lower()
    return "cpu" if name.startswith("cpu") else name


def _format(kind: DropKind) -> dict[str, Any]:
    """Return the option of layers that know where channels are."""
    return {"data_format": "channels_last"} if "{}" in kind.layer else {}


def _tensorflow(layer: Any, x: Array) -> Work:
    import tensorflow as tf

    run = tf.function(lambda x: layer(x, training=True), autograph=False)
    return Work(lambda: run(x))


def _torch(layer: Any, x: Array) -> Work:
    from mapdrop.tools.memory import peak

    run: Callable[[], Array] = partial(layer, x, training=True)
    return Work(run, partial(peak, run))


def _jax(layer: Any, x: Array) -> Work:
    import jax

    from mapdrop.tools.adapters.jax import peak

    def call(state: Any, x: Array) -> Array:
        return layer.stateless_call([], state, x, training=True)

    run, state = jax.jit(call), [v.value for v in layer.non_trainable_variables]

    def work() -> object:
        nonlocal state
        y, state = run(state, x)
        return y.block_until_ready()

    return Work(work, lambda: peak(run, state, x))

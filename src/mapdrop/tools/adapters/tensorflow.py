"""TensorFlow: every device, eagerly, in a tf.function, and compiled by XLA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import ml_dtypes
import numpy as np
import tensorflow as tf

import mapdrop
from mapdrop.tools.adapters import adapter as base
from mapdrop.tools.adapters.adapter import Array, Drop, Program, Work
from mapdrop.tools.adapters.bits import Bits
from mapdrop.tools.drop_kinds import DropKind

_TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


class Adapter(base.Adapter):
    """TensorFlow. It gives no account of the memory that a graph takes."""

    modes: tuple[str, ...] = ("eager", "tf.function", "XLA")
    compiled: ClassVar[tuple[str, ...]] = ("tf.function", "XLA")
    dropout_name = "tf.nn.dropout"

    @classmethod
    def found(cls) -> Iterator[base.Adapter]:
        """See `Adapter`."""
        yield cls()
        for number, device in enumerate(tf.config.list_physical_devices("GPU")):
            details = tf.config.experimental.get_device_details(device)
            yield cls(f"gpu:{number}", details.get("device_name", ""))

    @staticmethod
    def versions() -> dict[str, str]:
        """See `Adapter`."""
        return {"tensorflow": tf.__version__}

    def to_array(self, bits: Bits, dtype: str) -> Array:
        """See `Adapter`."""
        with tf.device(self.device):
            return tf.constant(bits.view(_TYPES[dtype]))

    def to_bits(self, array: Array) -> Bits:
        """See `Adapter`."""
        values = np.asarray(array.numpy())
        return values.view(f"u{values.itemsize}")

    def own_dropout(self) -> Drop:
        """See `Adapter`."""
        return lambda x, step=0: tf.nn.dropout(x, rate=0.5)

    def program(self, mode: str, drops: Sequence[Drop]) -> Program:
        """See `Adapter`. Everything that it makes is on the device."""
        if mode == "eager":
            run: Program = base.one_by_one(drops)
        else:
            run = _graph(drops, xla=mode == "XLA")

        def placed(arrays: Sequence[Array]) -> Sequence[Array]:
            with tf.device(self.device):
                made: Sequence[Array] = run(arrays)
            return made

        return placed

    def wait(self, array: Array) -> Array:
        """See `Adapter`."""
        if self.device != "cpu":
            tf.test.experimental.sync_devices()
        return array

    def random(self, size: tuple[int, ...], dtype: str, layout: str) -> Array:
        """See `Adapter`."""
        return tf.cast(tf.random.normal(size), dtype)

    def ours(self, kind: DropKind, size: tuple[int, ...]) -> Drop:
        """See `Adapter`."""
        return lambda x: mapdrop.drop(x, kind.last, kind.p)

    def peers(self, kind: DropKind, size: tuple[int, ...]) -> dict[str, Drop]:
        """See `Adapter`."""
        shape = kind.mask_shape(size)
        noise = None if shape == size else shape
        return {"tf.nn.dropout": lambda x: tf.nn.dropout(x, kind.p, noise)}

    def work(self, drop: Drop, array: Array, backward: bool) -> Work:
        """See `Adapter`. The gradient that comes in is there already."""

        @tf.function(autograph=False)
        def forward(x: Array) -> Array:
            return drop(x)

        @tf.function(autograph=False)
        def both(x: Array, upstream: Array) -> Array:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = drop(x)
            # Both, or the graph leaves one out.
            return y, tape.gradient(y, x, output_gradients=upstream)

        upstream = tf.identity(array)
        return Work((lambda: both(array, upstream)) if backward else (lambda: forward(array)))

    def copy(self, array: Array, passes: int) -> tuple[str, Work]:
        """See `Adapter`."""
        negate = tf.function(lambda x: -x, autograph=False)
        run = Work(lambda: [negate(array) for _ in range(passes)])
        return base.passes_named("negation", passes), run


def _graph(drops: Sequence[Drop], xla: bool) -> Program:
    run = tf.function(base.at_step(drops), jit_compile=xla, autograph=False)
    return lambda arrays: run(arrays, tf.constant(0, tf.int64))

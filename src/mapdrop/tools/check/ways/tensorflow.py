"""TensorFlow: every device, eagerly, in a tf.function, and compiled by XLA."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

from mapdrop.tools.check.bits import Bits
from mapdrop.tools.check.ways.way import Step, Way, at_step, one_by_one

_TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def versions() -> dict[str, str]:
    """Of what takes part."""
    return {"tensorflow": tf.__version__}


def ways() -> Iterator[Way]:
    """Three for each device."""
    for device, name in _devices():
        eager = Way(
            "eager",
            partial(_array, device),
            _bits,
            device,
            name,
            together=partial(_on, device, one_by_one),
            own=_own,
            own_name="tf.nn.dropout",
            ready=partial(_ready, device),
        )
        yield eager
        for mode, xla in (("tf.function", False), ("XLA", True)):
            graph = partial(_on, device, partial(_graph, xla))
            yield replace(eager, mode=mode, together=graph, compiled=True)


def _devices() -> Iterator[tuple[str, str]]:
    yield "cpu", ""
    for number, device in enumerate(tf.config.list_physical_devices("GPU")):
        details = tf.config.experimental.get_device_details(device)
        yield f"gpu:{number}", details.get("device_name", "")


def _array(device: str, bits: Bits, dtype: str) -> tf.Tensor:
    with tf.device(device):
        return tf.constant(bits.view(_TYPES[dtype]))


def _bits(y: tf.Tensor) -> Bits:
    values = np.asarray(y.numpy())
    return values.view(f"u{values.itemsize}")


def _ready(device: str, y: tf.Tensor) -> tf.Tensor:
    if device != "cpu":
        tf.test.experimental.sync_devices()
    return y


def _own(x: tf.Tensor, step: Any = 0) -> tf.Tensor:
    return tf.nn.dropout(x, rate=0.5)


def _graph(xla: bool, steps: Sequence[Step]) -> Callable[[Sequence[Any]], Any]:
    run = tf.function(at_step(steps), jit_compile=xla, autograph=False)
    return lambda xs: run(xs, tf.constant(0, tf.int64))


def _on(
    device: str, together: Callable[..., Any], steps: Sequence[Step]
) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """The same, with everything it makes on the device."""
    run = together(steps)

    def placed(xs: Sequence[Any]) -> Sequence[Any]:
        with tf.device(device):
            made: Sequence[Any] = run(xs)
        return made

    return placed

"""JAX: every device, eagerly and under jit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import Array

from mapdrop.tools.check.bits import Bits
from mapdrop.tools.check.ways.way import Step, Way, at_step

_TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def versions() -> dict[str, str]:
    """Of what takes part."""
    return {"jax": jax.__version__}


def ways() -> Iterator[Way]:
    """Eager and compiled, on each device."""
    for device in _devices():
        name = "" if device.platform == "cpu" else device.device_kind
        called = "cpu" if device.platform == "cpu" else f"{device.platform}:{device.id}"
        eager = Way(
            "eager",
            partial(_array, device),
            _bits,
            called,
            name,
            own=_own,
            own_name="where on jax.random.bernoulli",
            ready=jax.block_until_ready,
        )
        yield eager
        yield replace(eager, mode="jit", together=partial(_jitted, device), compiled=True)


def _devices() -> list[Any]:
    """One for the host, unless JAX_PLATFORMS leaves it out, and every accelerator."""
    accelerators = [device for device in jax.devices() if device.platform != "cpu"]
    try:
        return jax.devices("cpu")[:1] + accelerators
    except RuntimeError:
        return accelerators


def _array(device: Any, bits: Bits, dtype: str) -> Array:
    placed: Array = jax.device_put(bits.view(_TYPES[dtype]), device)
    return placed


def _bits(y: Array) -> Bits:
    return np.asarray(y).view(f"u{y.dtype.itemsize}")


def _own(x: Array, step: Any = 0) -> Array:
    """JAX has no dropout: this is what the libraries on it do."""
    return jnp.where(jax.random.bernoulli(jax.random.key(step), 0.5, x.shape), x * 2, 0)


def _jitted(device: Any, steps: Sequence[Step]) -> Callable[[Sequence[Any]], Any]:
    run, zero = jax.jit(at_step(steps)), jax.device_put(np.int32(0), device)
    return lambda xs: run(xs, zero)

"""JAX: every device, eagerly and under jit; against Flax's and Equinox's dropout."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

import mapdrop
from mapdrop.tools.adapters import adapter as base
from mapdrop.tools.adapters.adapter import Array, Drop, Program, Work
from mapdrop.tools.adapters.bits import Bits
from mapdrop.tools.drop_kinds import DropKind

_TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


class Adapter(base.Adapter):
    """JAX. Its `ours` and `peers` take a key and an array, and are timed under jit."""

    modes: tuple[str, ...] = ("eager", "jit")
    compiled: ClassVar[tuple[str, ...]] = ("jit",)
    dropout_name = "where on jax.random.bernoulli"

    def __init__(self, device: str = "cpu", device_name: str = "", place: Any = None) -> None:
        super().__init__(device, device_name)
        self._place = place

    @classmethod
    def found(cls) -> Iterator[base.Adapter]:
        """See `Adapter`. The host is one device, unless JAX_PLATFORMS leaves it out."""
        for place in _devices():
            if place.platform == "cpu":
                yield cls("cpu", "", place)
            else:
                yield cls(f"{place.platform}:{place.id}", place.device_kind, place)

    @staticmethod
    def versions() -> dict[str, str]:
        """See `Adapter`."""
        return {"jax": jax.__version__}

    def to_array(self, bits: Bits, dtype: str) -> Array:
        """See `Adapter`."""
        return jax.device_put(bits.view(_TYPES[dtype]), self._place)

    def to_bits(self, array: Array) -> Bits:
        """See `Adapter`."""
        return np.asarray(array).view(f"u{array.dtype.itemsize}")

    def own_dropout(self) -> Drop:
        """See `Adapter`."""
        return _by_bernoulli

    def program(self, mode: str, drops: Sequence[Drop]) -> Program:
        """See `Adapter`."""
        if mode == "eager":
            return base.one_by_one(drops)
        run: Any = jax.jit(base.at_step(drops))
        zero = jax.device_put(np.int32(0), self._place)
        return lambda arrays: run(arrays, zero)

    def wait(self, array: Array) -> Array:
        """See `Adapter`."""
        return jax.block_until_ready(array)

    def random(self, size: tuple[int, ...], dtype: str, layout: str) -> Array:
        """See `Adapter`."""
        return jax.random.normal(jax.random.key(1), size)

    def ours(self, kind: DropKind, size: tuple[int, ...]) -> Drop:
        """See `Adapter`."""
        return lambda key, x: mapdrop.drop(x, kind.last, kind.p, seed=key)

    def peers(self, kind: DropKind, size: tuple[int, ...]) -> dict[str, Drop]:
        """See `Adapter`."""
        drops: dict[str, Drop] = {}
        if importlib.util.find_spec("flax"):
            from flax import nnx

            mask = kind.mask_shape(size)
            shared = tuple(i for i in range(len(size)) if mask[i] < size[i])
            layer = nnx.Dropout(kind.p, broadcast_dims=shared)
            drops["nnx.Dropout"] = lambda key, x: layer(x, rngs=key)
        if kind.name == "element" and importlib.util.find_spec("equinox"):
            import equinox

            other = equinox.nn.Dropout(kind.p)
            drops["equinox.nn.Dropout"] = lambda key, x: other(x, key=key)
        return drops

    def work(self, drop: Drop, array: Array, backward: bool) -> Work:
        """See `Adapter`. Each call takes the next key."""
        keys = jax.random.split(jax.random.key(0), 1000)
        upstream = -array

        def step(key: Array, x: Array) -> tuple[Array, Array]:
            y, back = jax.vjp(partial(drop, key), x)
            return y, back(upstream)[0]  # Both, or the compiler leaves one out.

        run: Any = jax.jit(step if backward else drop)
        turns = cycle(list(keys))
        return Work(
            lambda: jax.block_until_ready(run(next(turns), array)),
            lambda: peak(run, keys[0], array),
        )

    def copy(self, array: Array, passes: int) -> tuple[str, Work]:
        """See `Adapter`. A negation reads and writes as a copy does, and can't be left out."""
        negate: Any = jax.jit(lambda x: -x)
        run = Work(lambda: [negate(array).block_until_ready() for _ in range(passes)])
        return base.passes_named("negation", passes), run


def _by_bernoulli(x: Array, step: Any = 0) -> Array:
    """JAX has no dropout: this is what the libraries on it do."""
    return jnp.where(jax.random.bernoulli(jax.random.key(step), 0.5, x.shape), x * 2, 0)


def peak(run: Any, *arguments: Any) -> int:
    """Return the bytes of a jitted function's results and scratch memory, as compiled."""
    plan = run.lower(*arguments).compile().memory_analysis()
    return int(plan.output_size_in_bytes + plan.temp_size_in_bytes)


def _devices() -> list[Any]:
    accelerators = [device for device in jax.devices() if device.platform != "cpu"]
    try:
        return jax.devices("cpu")[:1] + accelerators
    except RuntimeError:
        return accelerators

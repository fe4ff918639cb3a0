"""JAX against Flax's dropout, under jit."""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import nnx
from jax import Array

import mapdrop.flax
from benchmarks.row import Row, Work

SHAPE = (32, 56, 56, 256)
Layer = Callable[..., Array]


def _work(layer: Layer, x: Array, both: bool) -> Work:
    """The layer's forward pass, or forward and backward, each time with the next key."""
    keys = iter(jax.random.split(jax.random.key(0), 1000))

    def forward(x: Array, key: Array) -> Array:
        return layer(x, rngs=key)

    def step(x: Array, key: Array) -> Array:
        y, back = jax.vjp(lambda x: forward(x, key), x)
        (gradient,) = back(y)
        return gradient

    run = jax.jit(step if both else forward)
    return lambda: run(x, next(keys)).block_until_ready()


def _row(name: str, ours: Layer, theirs: Layer, both: bool, reach: float) -> Row:
    def make() -> dict[str, Work]:
        x = jax.random.normal(jax.random.key(1), SHAPE)
        copy = jax.jit(lambda x: -x)
        return {
            "mapdrop": _work(ours, x, both),
            "nnx.Dropout": _work(theirs, x, both),
            "negation": lambda: copy(x).block_until_ready(),
        }

    direction = "forward and backward" if both else "forward"
    return Row(f"JAX {name}, {direction}", make, "nnx.Dropout", reach, rounds=9, limit="negation")


def rows() -> list[Row]:
    """Element-wise and spatial, forward and with the gradient."""
    kinds = (
        ("element-wise", mapdrop.flax.Dropout(0.5), nnx.Dropout(0.5), 0.2),
        (
            "spatial",
            mapdrop.flax.SpatialDropout2d(0.5),
            nnx.Dropout(0.5, broadcast_dims=(1, 2)),
            1.0,
        ),
    )
    return [_row(name, a, b, both, reach) for name, a, b, reach in kinds for both in (False, True)]

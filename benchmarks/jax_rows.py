"""JAX on the CPU against Flax's dropout, under jit: `python -m benchmarks.jax_rows`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

import mapdrop.flax
from benchmarks.timing import interleaved

LARGE = (32, 56, 56, 256)
Layer = Callable[..., Array]


def work(layer: Layer, x: Array, both: bool) -> Callable[[], object]:
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


def main() -> None:
    x = jax.random.normal(jax.random.key(1), LARGE)
    copy = jax.jit(lambda x: -x)
    rows: dict[str, tuple[Layer, Layer]] = {
        "element-wise": (mapdrop.flax.Dropout(0.5), nnx.Dropout(0.5)),
        "spatial": (mapdrop.flax.SpatialDropout2d(0.5), nnx.Dropout(0.5, broadcast_dims=(1, 2))),
    }
    for name, (ours, theirs) in rows.items():
        for both in (False, True):
            functions = {
                "mapdrop": work(ours, x, both),
                "nnx.Dropout": work(theirs, x, both),
                "negation": lambda: copy(x).block_until_ready(),
            }
            times = interleaved(functions, rounds=9)
            what = "forward and backward" if both else "forward"
            told = ", ".join(f"{n} {t.median * 1e3:.1f} ms" for n, t in times.items())
            ratio = times["mapdrop"].median / times["nnx.Dropout"].median
            print(f"{name}, {what}: {told}; mapdrop / nnx.Dropout {ratio:.2f}", flush=True)
    blocks = jax.jit(lambda x, key: mapdrop.flax.DropBlock2d(0.1, 7)(x, rngs=key))
    small = jnp.ones((32, 28, 28, 256))
    functions = {
        "mapdrop": lambda: blocks(small, jax.random.key(0)).block_until_ready(),
        "negation": lambda: copy(small).block_until_ready(),
    }
    told = ", ".join(f"{n} {t.median * 1e3:.1f} ms" for n, t in interleaved(functions, 5).items())
    print(f"DropBlock 7x7, 32x28x28x256, forward: {told}", flush=True)


if __name__ == "__main__":
    main()

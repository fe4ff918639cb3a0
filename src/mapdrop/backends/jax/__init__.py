"""drop() for JAX arrays, eagerly and under every transformation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mapdrop.backends.jax.apply import Request, broadcast, wide
from mapdrop.backends.jax.autodiff import dropped
from mapdrop.backends.jax.seeds import ticket
from mapdrop.backends.unsupported import unsupported
from mapdrop.spec import seed as seeds
from mapdrop.spec.mask_spec import Items
from mapdrop.spec.pattern import Pattern

_DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


def drop(
    x: Array,
    pattern: str | Pattern,
    p: float,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
    exact: str | None = None,
    balance: str | None = None,
    block: Items = (),
    region: str = "valid",
    scale: str | None = "expected",
    inplace: bool = False,
    out: Any = None,
    sizes: Items = (),
    ragged: bool = False,
) -> Array:
    """See `mapdrop.drop`. `ragged` lets the last group of a batch be smaller."""
    if inplace or out is not None:
        raise TypeError("JAX arrays are never written to: leave out inplace= and out=")
    _check_dtype(x)
    if not all(isinstance(size, int) for size in x.shape):
        raise TypeError(
            f"a mask is drawn for sizes that are known, not for {x.shape}: export a training step "
            "for one batch size; in inference, the layers take any"
        )
    if traced(p):
        raise TypeError(
            "p decides what is compiled, so it is a number, and not traced: close over it, or "
            "name it in jax.jit's static_argnames"
        )
    text = pattern.text if isinstance(pattern, Pattern) else pattern
    given = exact, balance, block, region, scale, sizes, ragged
    # Checked as it came: a rate that is True, or a size that is 2.0, equals one that is allowed.
    checked = Request(seeds.check_stream(stream), text, p, *given)
    asked = checked.plan(x.shape)
    if asked.law.p == 0:
        return x
    words, left = ticket(x, seed, checked.stream, step)
    request = checked._replace(stream=left, p=asked.law.p)
    if not jnp.iscomplexobj(x):
        return dropped(x, words, request)
    return jax.lax.complex(*(dropped(part, words, request) for part in (x.real, x.imag)))


def apply(x: Array, mask: Any) -> Array:
    """A `mapdrop.Mask` applied to x."""
    _check_dtype(x)
    if jnp.iscomplexobj(x):
        return jax.lax.complex(apply(x.real, mask), apply(x.imag, mask))
    return broadcast(x, mask.binding, jnp.asarray(mask.coins), np.asarray(mask.scale, wide(x)))


def traced(x: Any) -> bool:
    """Whether x is traced, for a compiled function that keeps what Python said then."""
    return isinstance(x, jax.core.Tracer)


def _check_dtype(x: Array) -> None:
    if not isinstance(x, (Array, np.ndarray)):
        raise unsupported(x)
    if x.dtype.name not in _DTYPES:
        raise TypeError(
            f"mapdrop works on {', '.join(_DTYPES)}, not on {x.dtype}: kept values are scaled, "
            "which needs floats; x.astype(jax.numpy.float32) makes them"
        )

"""drop() for JAX arrays, eagerly and under every transformation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mapdrop.backends.jax.apply import broadcast, wide
from mapdrop.backends.jax.autodiff import dropped
from mapdrop.backends.jax.rows import kept_rows, scaled, split
from mapdrop.backends.jax.seeds import seed_words
from mapdrop.backends.unsupported import unsupported
from mapdrop.spec import mask_spec as specs
from mapdrop.spec import seed as seeds
from mapdrop.spec.branch import check_arrays, check_branch, check_inputs
from mapdrop.spec.mask_spec import MaskSpec
from mapdrop.spec.pattern import Pattern
from mapdrop.spec.variable_rate import RateWords, VariableSpec, variable_spec

_DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


def mask_spec(
    pattern: str | Pattern, p: float | RateWords, *options: Any
) -> MaskSpec | VariableSpec:
    """Return the spec of these arguments. Raises TypeError for a rate that is traced."""
    if isinstance(p, jax.core.Tracer):
        raise TypeError(
            "p decides what is compiled, so it is a number, and not traced: close over it, or "
            "name it in jax.jit's static_argnames"
        )
    if isinstance(p, RateWords):
        return variable_spec(pattern, p, *options)
    return specs.mask_spec(pattern, p, *options)


def drop(
    x: Array,
    spec: MaskSpec | VariableSpec,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
    inplace: bool = False,
    out: Any = None,
) -> Array:
    """See `mapdrop.drop`."""
    if inplace or out is not None:
        raise TypeError("JAX arrays are never written to: leave out inplace= and out=")
    if not isinstance(x, (Array, np.ndarray)) or x.dtype.name not in _DTYPES:
        raise _refused(x)
    if not {*map(type, x.shape)} <= {int}:
        raise _of_open_sizes(x)
    if stream is not None:
        seeds.check_stream(stream)
    known, rate = (
        (spec.nominal, spec.rate.words) if isinstance(spec, VariableSpec) else (spec, None)
    )
    known.bind(x.shape, warn=rate is None)  # For its checks, out of compiled code.
    if known.p == 0:
        return x
    words, left = seed_words(x, seed, stream, step)
    if rate is not None:
        words = jnp.concatenate([words, rate])
    if not jnp.iscomplexobj(x):
        return dropped(x, words, known, left)
    return jax.lax.complex(*(dropped(part, words, known, left) for part in (x.real, x.imag)))


def residual(
    branch: Callable[..., Array],
    x: Array,
    inputs: tuple[Array, ...],
    spec: MaskSpec,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
) -> Array:
    """See `mapdrop.residual`."""
    rows = spec.rows
    check_arrays(inputs, (Array, np.ndarray))
    if not {*map(type, x.shape)} <= {int}:
        raise _of_open_sizes(x)
    check_inputs(x.shape, [other.shape for other in inputs])
    spec.bind(x.shape)  # For its checks.
    if any(map(split, (x, *inputs))):  # Each device runs the branch for the samples that it has.
        came = branch(x, *inputs)
        check_branch(jnp.shape(came), x.shape)
        return x + drop(came, spec, seed=seed, stream=stream, step=step)
    factors = jnp.ones(x.shape[0], float)
    if spec.p > 0:
        words, left = seed_words(x, seed, seeds.check_stream(stream), step)
        factors = dropped(factors, words, rows, left)
    kept, factors = kept_rows(factors, rows.bind(x.shape[:1], warn=False).most)
    given = x[kept]
    came = branch(given, *(jnp.asarray(other)[kept] for other in inputs))
    if not isinstance(came, (Array, np.ndarray)) or came.dtype.name not in _DTYPES:
        raise _refused(came)
    check_branch(came.shape, given.shape)
    added = scaled(jnp.asarray(came), factors)
    dtype = jnp.result_type(x, added)
    return x.astype(dtype).at[kept].add(added.astype(dtype))


def apply(x: Array, mask: Any) -> Array:
    """Apply a `mapdrop.Mask` to x."""
    if not isinstance(x, (Array, np.ndarray)) or x.dtype.name not in _DTYPES:
        raise _refused(x)
    if jnp.iscomplexobj(x):
        return jax.lax.complex(apply(x.real, mask), apply(x.imag, mask))
    return broadcast(x, mask.binding, jnp.asarray(mask.coins), np.asarray(mask.scale, wide(x)))


def traced(x: Any) -> bool:
    """Whether x is traced, for a compiled function that freezes Python values."""
    return isinstance(x, jax.core.Tracer)


def _of_open_sizes(x: Array) -> TypeError:
    """Return the error for an array of which `jax.export` leaves a size open."""
    return TypeError(
        f"a mask is drawn for sizes that are known, not for {x.shape}: export a training step for "
        "one batch size; in inference, the layers take any"
    )


def _refused(x: Any) -> TypeError:
    """Return the error for what is no array, or has a dtype that cannot be scaled."""
    if not isinstance(x, (Array, np.ndarray)):
        return unsupported(x)
    return TypeError(
        f"mapdrop works on {', '.join(_DTYPES)}, not on {x.dtype}: kept values are scaled, "
        "which needs floats; x.astype(jax.numpy.float32) makes them"
    )

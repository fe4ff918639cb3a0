"""The drop as a JAX primitive: linear in x, so its own derivative and its own transpose.

A function with a custom derivative would do for `jax.grad`, but not for forward mode as well; a
primitive has a rule for each transformation. None of them keeps more than the seed and the step
(16 bytes), and a variable rate (8): the gradient is dropped by the same primitive, which makes the
same mask again.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.interpreters import ad, batching, mlir

from mapdrop.backends.jax.apply import drop_values
from mapdrop.spec.mask_spec import MaskSpec

# Seen in JAX 0.10.2, and outside of what JAX promises to keep: the registries below of
# `jax.interpreters` (ad.primitive_jvps, ad.primitive_transposes, ad.Zero, batching's
# primitive_batchers, mlir.register_lowering, mlir.lower_fun), a primitive's bind, def_impl and
# def_abstract_eval, `jax.core.Tracer`, by which `drop` knows that it is traced, and
# `jax.enable_x64`, for 64-bit numbers where they are switched off. Nothing stands in for them:
# without one the import fails, or the first drop that uses it.

# Made by the class of another primitive: the first drop may import this file inside a function that
# JAX traces, and importing `jax.extend` there makes JAX trace the function again (0.12).
_drop_p: Any = type(lax.add_p)("mapdrop_drop")


def dropped(x: Array, words: Any, spec: MaskSpec, stream: str | None) -> Array:
    """Return x dropped, under every transformation. See `drop_values` for the words."""
    result: Array = _drop_p.bind(x, words, spec=spec, stream=stream)
    return result


def _jvp(primals: Any, tangents: Any, **static: Any) -> tuple[Array, Any]:
    x, words = primals
    out = dropped(x, words, **static)
    if type(tangents[0]) is ad.Zero:
        return out, tangents[0]
    return out, dropped(tangents[0], words, **static)


def _transpose(cotangent: Any, x: Any, words: Array, **static: Any) -> tuple[Any, None]:
    if type(cotangent) is ad.Zero:
        return ad.Zero(x.aval), None
    return dropped(cotangent, words, **static), None


def _batch(args: Any, dims: Any, **static: Any) -> tuple[Array, int]:
    """Drop under vmap: one seed gives all examples one mask, a seed for each its own."""
    (x, words), (at, seed_at) = args, dims
    if seed_at is None:
        front = words.ndim - 1  # Behind the examples that have seeds of their own.
        static["spec"] = static["spec"].over_examples()
        return dropped(jnp.moveaxis(x, at, front), words, **static), front
    words = jnp.moveaxis(words, seed_at, 0)
    each = x[None] if at is None else jnp.moveaxis(x, at, 0)
    return dropped(jnp.broadcast_to(each, (len(words), *each.shape[1:])), words, **static), 0


_drop_p.def_impl(jax.jit(drop_values, static_argnames=("spec", "stream")))
_drop_p.def_abstract_eval(lambda x, words, **static: x)
ad.primitive_jvps[_drop_p] = _jvp
ad.primitive_transposes[_drop_p] = _transpose
batching.primitive_batchers[_drop_p] = _batch
mlir.register_lowering(_drop_p, mlir.lower_fun(drop_values, multiple_results=False))

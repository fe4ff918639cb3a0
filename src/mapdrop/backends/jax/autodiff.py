"""Dropping as a primitive of JAX's: linear in x, so its own derivative and its own transpose.

A function with a custom derivative would do for `jax.grad`, but not for forward mode as well; a
primitive has a rule for each transformation. None of them keeps more than the seed and the step
(16 bytes): the gradient is dropped by the same primitive, which makes the same mask again.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.interpreters import ad, batching, mlir

from mapdrop.backends.jax.apply import Request, drop_values
from mapdrop.spec.pattern import Pattern

# By the class of another primitive: the first drop of all may import this within a function that
# JAX traces, and to import `jax.extend` there has JAX trace the function again (0.12).
_drop_p: Any = type(lax.add_p)("mapdrop_drop")


def dropped(x: Array, ticket: Any, request: Request) -> Array:
    """x dropped, under every transformation; the ticket is that of `drop_values`."""
    result: Array = _drop_p.bind(x, ticket, request=request)
    return result


def _jvp(primals: Any, tangents: Any, *, request: Request) -> tuple[Array, Any]:
    x, ticket = primals
    out = dropped(x, ticket, request)
    if type(tangents[0]) is ad.Zero:
        return out, tangents[0]
    return out, dropped(tangents[0], ticket, request)


def _transpose(cotangent: Any, x: Any, ticket: Array, *, request: Request) -> tuple[Any, None]:
    if type(cotangent) is ad.Zero:
        return ad.Zero(x.aval), None
    return dropped(cotangent, ticket, request), None


def _batch(args: Any, dims: Any, *, request: Request) -> tuple[Array, int]:
    """vmap: one seed for all examples shares the mask; a seed for each gives each its own."""
    (x, ticket), (at, seed_at) = args, dims
    if seed_at is None:
        front = ticket.ndim - 1  # Behind the examples that have seeds of their own.
        request = request._replace(pattern=f"{_unused(request.pattern)} {request.pattern}")
        return dropped(jnp.moveaxis(x, at, front), ticket, request), front
    ticket = jnp.moveaxis(ticket, seed_at, 0)
    each = x[None] if at is None else jnp.moveaxis(x, at, 0)
    return dropped(jnp.broadcast_to(each, (len(ticket), *each.shape[1:])), ticket, request), 0


def _unused(pattern: str) -> str:
    name = "examples"
    while name in Pattern.parse(pattern).names:
        name += "_"
    return name


_drop_p.def_impl(jax.jit(drop_values, static_argnames="request"))
_drop_p.def_abstract_eval(lambda x, ticket, *, request: x)
ad.primitive_jvps[_drop_p] = _jvp
ad.primitive_transposes[_drop_p] = _transpose
batching.primitive_batchers[_drop_p] = _batch
mlir.register_lowering(_drop_p, mlir.lower_fun(drop_values, multiple_results=False))

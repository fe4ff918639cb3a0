"""What a mask does to an array's values."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mapdrop.backends.jax import law as plain
from mapdrop.spec.binding import Binding
from mapdrop.spec.mask_spec import BoundSpec, Items, plan


class Request(NamedTuple):
    """What is asked for beside x, seed and step: static, so compiled code knows all of it."""

    stream: str | None
    pattern: str
    p: float
    exact: str | None = None
    balance: str | None = None
    block: Items = ()
    region: str = "valid"
    scale: str | None = "expected"
    sizes: Items = ()
    ragged: bool = False

    def plan(self, shape: tuple[int, ...]) -> BoundSpec:
        """The checked plan for an array of the shape."""
        return plan(self.pattern, shape, *self[2:])


def drop_values(x: Array, ticket: Array, request: Request) -> Array:
    """x dropped. The ticket has the words (low, high) of the seed and of the step.

    A ticket with leading axes has one for each example on the leading axes of x.
    """
    if ticket.ndim > 1:
        return jax.vmap(partial(drop_values, request=request))(x, ticket)
    asked = request.plan(x.shape)
    low, high, *step = ticket
    key = plain.stream_key((low, high), request.stream)
    coins = plain.kept(asked, key, (step[0], step[1]))
    return broadcast(x, asked.binding, coins, plain.factor(asked, coins, wide(x)))


def wide(x: Array) -> np.dtype[Any]:
    """The dtype in which values are multiplied."""
    return np.dtype(np.float64 if x.dtype == np.float64 else np.float32)


def broadcast(x: Array, binding: Binding, coins: Array, scale: Array | NDArray[Any]) -> Array:
    """x where the coins keep it, times the scale (of the dtype `wide`)."""
    whole = binding.whole
    factor = scale
    if scale.ndim:
        factor = _lined_up(jnp.broadcast_to(scale, coins.shape), binding)
    values = (x.astype(wide(x)).reshape(whole.factors) * factor).astype(x.dtype)
    dropped = jnp.where(_lined_up(coins, binding), values, jnp.zeros((), x.dtype))
    return dropped.reshape(x.shape)


def _lined_up(made: Array, binding: Binding) -> Array:
    """One for each coin, as it meets the values; a smaller last group's are repeated."""
    if binding.repeats is not None:
        axis, members, size = binding.repeats
        made = jnp.take(made, np.arange(size) // members, axis)
    order, shape = binding.whole.lineup
    return made.transpose(order).reshape(shape)

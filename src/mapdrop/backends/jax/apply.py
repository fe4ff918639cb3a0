"""Apply masks to arrays."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mapdrop.backends.jax.coins import drawn, number_of, stream_key
from mapdrop.spec.binding import Binding
from mapdrop.spec.mask_spec import MaskSpec


def drop_values(x: Array, words: Array, spec: MaskSpec, stream: str | None) -> Array:
    """Return x dropped. The words (low, high) are those of the seed, the step and a variable rate.

    Words with leading axes are those of each example on the leading axes of x.
    """
    if words.ndim > 1:
        return jax.vmap(partial(drop_values, spec=spec, stream=stream))(x, words)
    bound = spec.bind(x.shape, warn=False)
    low, high, step_low, step_high = words[:4]
    if len(words) > 4:
        bound = bound.at(number_of(words[4:]))
    key = stream_key((low, high), stream)
    return broadcast(x, bound.binding, *drawn(bound, key, (step_low, step_high), wide(x)))


def wide(x: Array) -> np.dtype[Any]:
    """Return the dtype in which values are multiplied."""
    return np.dtype(np.float64 if x.dtype == np.float64 else np.float32)


def broadcast(x: Array, binding: Binding, coins: Array, scale: Array | NDArray[Any]) -> Array:
    """Return x times the scale (of the dtype `wide`) where the coins keep it, and 0 elsewhere."""
    ungrouped = binding.ungrouped
    factor = scale
    if scale.ndim:
        factor = _lined_up(jnp.broadcast_to(scale, coins.shape), binding)
    values = (x.astype(wide(x)).reshape(ungrouped.factors) * factor).astype(x.dtype)
    dropped = jnp.where(_lined_up(coins, binding), values, jnp.zeros((), x.dtype))
    return dropped.reshape(x.shape)


def _lined_up(made: Array, binding: Binding) -> Array:
    """Return one value for each coin so that it broadcasts over x's factors."""
    if binding.repeats is not None:
        axis, members, size = binding.repeats
        made = jnp.take(made, np.arange(size) // members, axis)
    order, shape = binding.ungrouped.lineup
    return made.transpose(order).reshape(shape)

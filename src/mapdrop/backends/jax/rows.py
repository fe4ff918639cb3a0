"""The samples that a residual branch runs for, and what their results are multiplied by."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mapdrop.backends.jax.apply import wide


def split(x: Any) -> bool:
    """Return whether an array's samples lie on several devices by its type (explicit sharding).

    To choose among them would bring all that are chosen to each device.
    """
    spec = jax.typeof(x).sharding.spec
    return len(spec) > 0 and spec[0] is not None


def kept_rows(factors: Array, most: int) -> tuple[Any, Array]:
    """Return the indices of the samples to run the branch for, and the factor of each.

    `factors` has one for each sample, 0 where it is dropped; at most `most` of them are not. Where
    they are traced, so many samples are returned. Those that pad them have the factor 0, and are
    copies of the first kept one, not dropped ones: if the branch makes infinity of one of those,
    its gradient would be NaN, though nothing of its result is used.
    """
    if not isinstance(factors, jax.core.Tracer):
        kept = np.flatnonzero(np.asarray(factors))
        return kept, factors[kept]
    if most == len(factors):
        return slice(None), factors
    order = jnp.argsort(factors == 0, stable=True)
    first, each = order[:most], factors[order[:most]]
    return jnp.where(each != 0, first, order[:1]), each


def scaled(x: Array, factors: Array) -> Array:
    """Return x times a factor for each index of its first axis, and 0 where that is 0."""
    each = factors.reshape(-1, *[1] * (x.ndim - 1))
    dtype = wide(x.real)
    values = x if jnp.iscomplexobj(x) else x.astype(dtype)
    return jnp.where(each != 0, (values * each.astype(dtype)).astype(x.dtype), 0)

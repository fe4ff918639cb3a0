"""Few values: coins are drawn and applied in one call, on memory that is given by its address.

For a hundred values the way into a kernel takes longer than the kernel: arrays are unpacked,
threads are asked for. Addresses and numbers take a tenth of a microsecond.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from mapdrop.kernels.float16 import times
from mapdrop.kernels.jit import compiled
from mapdrop.kernels.philox import U32, U64, philox

_S = U64(32)


def _emit_pointer(typing: Any, address: Any, like: Any) -> Any:
    """Return the address as a pointer to values of the array's dtype."""
    pointer = types.CPointer(like.dtype)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(address, like), emit


_pointer: Any = intrinsic(_emit_pointer)


@compiled()
def drop(
    source: int,
    target: int,
    key: int,
    step: int,
    count: int,
    run: int,
    limit: int,
    factor: Any,
    like: Any,
) -> None:
    """Drop values in memory: `count` coins in their order, each for `run` values in a row.

    Args:
        source, target: addresses of the values and of the results.
        key, step: as signed integers of the same 64 bits.
        limit: a coin is kept where its word is this or more, from 0 to 2**32.
        factor: what kept values are multiplied by: an array of one float32, or float64 for
            float64 values.
        like: an array of the values' dtype.
    """
    x: Any = _pointer(source, like)
    y: Any = _pointer(target, like)
    scale = factor[0]
    zero = like.dtype.type(0)
    k, m = U32(U64(key)), U32(U64(key) >> _S)
    c, d = U32(U64(step)), U32(U64(step) >> _S)
    words = np.empty(4, U32)
    for coin in range(count):
        if coin & 3 == 0:
            block = U64(coin >> 2)
            words[0], words[1], words[2], words[3] = philox(
                U32(block), U32(block >> _S), c, d, k, m
            )
        at = coin * run
        if U64(words[coin & 3]) >= U64(limit):
            for j in range(at, at + run):
                y[j] = times(x[j], scale)
        else:
            for j in range(at, at + run):
                y[j] = zero

"""Turn floats to their bits, so that NumPy can compare those it has no type for (bfloat16)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[Any]  # uint32 of float32; uint16 of float16 and bfloat16.
DTYPES = ("float32", "float16", "bfloat16")
_INFINITY = {"float32": 0x7F80_0000, "float16": 0x7C00, "bfloat16": 0x7F80}


def from_floats(values: NDArray[np.float32], dtype: str) -> Bits:
    """Return the bits of values, each rounded once, to the nearest and ties to even."""
    values = np.ascontiguousarray(values).reshape(values.shape)  # The former makes a scalar 1-d.
    if dtype == "float32":
        return values.view(np.uint32)
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint16)
    raw = values.view(np.uint32)
    rounded = (raw + np.uint32(0x7FFF) + ((raw >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded.astype(np.uint16))


def to_floats(bits: Bits, dtype: str) -> NDArray[np.float32]:
    """Return the values, exactly, as float32."""
    if dtype == "bfloat16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return bits.view(dtype).astype(np.float32)


def canonical(bits: Bits, dtype: str) -> Bits:
    """Return the bits with one NaN for all, because hardware differs in which it makes."""
    infinity, kind = _INFINITY[dtype], bits.dtype.type
    magnitude = bits & kind((1 << (8 * bits.itemsize - 1)) - 1)
    return np.where(magnitude > kind(infinity), kind(infinity + 1), bits)

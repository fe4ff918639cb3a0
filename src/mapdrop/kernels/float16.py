"""Arithmetic of floats in compiled CPU code: 16-bit ones are widened, and rounded once, to even.

Numba has no 16-bit floats on the CPU. Arrays of them are passed as integers of the same bits:
float16 as uint16, bfloat16 as int16, so that the two differ in type.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic, overload

U32, U64 = np.uint32, np.uint64


@cache  # To query the processor takes six times as long as to drop a small array.
def float16_in_hardware() -> bool:
    """Return whether this processor converts float16. Else LLVM would call a missing function."""
    features = binding.get_host_cpu_features()
    return bool(features.get("f16c") or features.get("fp16") or features.get("fullfp16"))


def _emit_widen(typing: Any, bits: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), emit


def _emit_narrow(typing: Any, value: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), emit


_widen: Any = intrinsic(_emit_widen)
_narrow: Any = intrinsic(_emit_narrow)


def times(value: Any, scale: Any) -> Any:
    """Return value * scale in compiled code, for every kind of float that an array can hold."""
    raise TypeError("for compiled code only")


@overload(times)
def _times(value: Any, scale: Any) -> Any:
    def product(value: Any, scale: Any) -> Any:
        return value * scale

    def float16(value: Any, scale: Any) -> Any:
        return _narrow(_widen(value) * scale)

    def bfloat16(value: Any, scale: Any) -> Any:
        wide = U32(U32(value) << U32(16)).view(np.float32) * scale
        bits = np.float32(wide).view(np.uint32)
        # The lower half of a NaN's bits is 0 here, so that rounding does not make it infinite.
        return np.int16((bits + U32(0x7FFF) + ((bits >> U32(16)) & U32(1))) >> U32(16))

    return {types.uint16: float16, types.int16: bfloat16}.get(value, product)


def masked(value: Any, coin: Any) -> Any:
    """Return a float where the coin is 1, and 0 where it is 0, in compiled code: by its bits.

    No branch, and 0 also of what is infinite or not a number.
    """
    raise TypeError("for compiled code only")


@overload(masked)
def _masked(value: Any, coin: Any) -> Any:
    def single(value: Any, coin: Any) -> Any:
        return U32(np.float32(value).view(U32) & (U32(0) - U32(coin))).view(np.float32)

    def double(value: Any, coin: Any) -> Any:
        return U64(np.float64(value).view(U64) & (U64(0) - U64(coin))).view(np.float64)

    def half(value: Any, coin: Any) -> Any:
        return value & -np.int16(coin)

    return {types.float32: single, types.float64: double}.get(value, half)

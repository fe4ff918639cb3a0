"""The specification's generator of words, Philox-4x32-10, compiled for the CPU by Numba.

It is written for the vectoriser: ten rounds unrolled by hand, and a small tile of words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapdrop.kernels.jit import compiled

U32, U64 = np.uint32, np.uint64
_M0, _M1, _W0, _W1 = U64(0xD251_1F53), U64(0xCD9E_8D57), U32(0x9E37_79B9), U32(0xBB67_AE85)
_S = U64(32)
BLOCKS = 64  # Philox blocks in a tile: 1 KiB of words, which stays in the L1 cache.
TILE = 4 * BLOCKS


@compiled(inline="always")
def _round(a: Any, b: Any, c: Any, d: Any, k0: Any, k1: Any) -> Any:
    left, right = _M0 * U64(a), _M1 * U64(c)
    return U32(right >> _S) ^ b ^ k0, U32(right), U32(left >> _S) ^ d ^ k1, U32(left)


@compiled(inline="always")
def philox(a: Any, b: Any, c: Any, d: Any, k: Any, m: Any) -> Any:
    """Return the four words of counter (a, b, c, d) and key (k, m)."""
    a, b, c, d = _round(a, b, c, d, k, m)
    a, b, c, d = _round(a, b, c, d, U32(k + _W0), U32(m + _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(2) * _W0), U32(m + U32(2) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(3) * _W0), U32(m + U32(3) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(4) * _W0), U32(m + U32(4) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(5) * _W0), U32(m + U32(5) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(6) * _W0), U32(m + U32(6) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(7) * _W0), U32(m + U32(7) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(8) * _W0), U32(m + U32(8) * _W1))
    return _round(a, b, c, d, U32(k + U32(9) * _W0), U32(m + U32(9) * _W1))


@compiled()
def draw(tile: Any, block: Any, key: Any, step: Any) -> None:
    """Fill the tile with the words of the blocks from `block` on."""
    k, m = U32(key), U32(key >> _S)
    c, d = U32(step), U32(step >> _S)
    for j in range(BLOCKS):
        number = block + U64(j)
        w0, w1, w2, w3 = philox(U32(number), U32(number >> _S), c, d, k, m)
        tile[4 * j] = w0
        tile[4 * j + 1] = w1
        tile[4 * j + 2] = w2
        tile[4 * j + 3] = w3


@compiled()
def draw_strided(tile: Any, block: Any, gap: Any, key: Any, step: Any, blocks: int) -> None:
    """Draw blocks `gap` apart: the i-th quarter of the tile gets the i-th word of each."""
    k, m = U32(key), U32(key >> _S)
    c, d = U32(step), U32(step >> _S)
    for j in range((blocks + 7) // 8 * 8):  # Whole vectors: one block takes as long as eight.
        number = block + U64(j) * gap
        w0, w1, w2, w3 = philox(U32(number), U32(number >> _S), c, d, k, m)
        tile[j] = w0
        tile[BLOCKS + j] = w1
        tile[2 * BLOCKS + j] = w2
        tile[3 * BLOCKS + j] = w3

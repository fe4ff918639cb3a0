"""Version 1 of the mask specification: a 32-bit word for every coin, in plain NumPy.

A word depends on seed, stream, step and the coin's logical number alone. `mapdrop.spec.law` decides
from words which coins are kept. The two are the definition, and know neither an array layout nor a
framework; implementations elsewhere must give the same bits (see `vectors.json`). The same in prose
is https://mapdrop.github.io/mapdrop/mask-v1/. It never changes under this version number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
U32, U64 = np.uint32, np.uint64
Words = NDArray[np.uint32]
_LOW = 0xFFFF_FFFF

# --- The generator: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
# SC 2011), with the constants of Random123.

_MULTIPLIERS = (0xD251_1F53, 0xCD9E_8D57)
_WEYL = (0x9E37_79B9, 0xBB67_AE85)


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[int, int]) -> tuple[Words, ...]:
    """Four 32-bit words for each counter; the counter's parts are uint32 arrays or numbers.

    >>> [f"{int(w):08x}" for w in philox((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = (np.asarray(part, U32) for part in counter)
    for turn in range(10):
        k0, k1 = (U32((k + turn * w) & _LOW) for k, w in zip(key, _WEYL, strict=True))
        left = a.astype(U64) * U64(_MULTIPLIERS[0])
        right = c.astype(U64) * U64(_MULTIPLIERS[1])
        a, b = _high(right) ^ b ^ k0, right.astype(U32)
        c, d = _high(left) ^ d ^ k1, left.astype(U32)
    return a, b, c, d


def _high(product: NDArray[np.uint64]) -> Words:
    return (product >> U64(32)).astype(U32)


def split(number: int) -> tuple[int, int]:
    """The low and the high word of an unsigned 64-bit number."""
    return number & _LOW, number >> 32


def stream_words(stream: str) -> tuple[int, int, int, int]:
    """A stream's name as a Philox counter: its BLAKE2b-128 as four little-endian words."""
    import hashlib  # Here, because it takes a sixth of the time that `import mapdrop` may take.

    digest = hashlib.blake2b(stream.encode(), digest_size=16).digest()
    a, b, c, d = (int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
    return a, b, c, d


def stream_key(seed: int, stream: str | None) -> int:
    """The 64-bit key for a seed and a stream's name: hashed, never added to the seed."""
    if stream is None:
        return seed
    low, high, *_ = philox(stream_words(stream), split(seed))
    return int(low) | int(high) << 32


def words(index: NDArray[np.uint64], key: int, step: int) -> Words:
    """The words of the coins numbered `index` (uint64): any of them alone, at its own cost."""
    block = index >> U64(2)
    counter = (block.astype(U32), _high(block), *split(step))
    lanes = np.stack(philox(counter, split(key)), axis=-1)
    lane = (index & U64(3)).astype(np.intp)
    return np.asarray(np.take_along_axis(lanes, lane[..., None], axis=-1)[..., 0])


def all_words(count: int, key: int, step: int, start: int = 0) -> Words:
    """The words of the `count` coins from number `start` on, each block of four drawn once."""
    first, last = start >> 2, (start + count + 3) >> 2
    block = np.arange(first, last, dtype=U64)
    lanes = philox((block.astype(U32), _high(block), *split(step)), split(key))
    return np.stack(lanes, axis=-1).reshape(-1)[start - 4 * first :][:count]

"""Seeds, streams and steps as the numbers of the specification."""

from __future__ import annotations

import operator
from functools import lru_cache
from typing import Any

import numpy as np

from mapdrop.spec.words import stream_key

LIMIT = 2**64


def check_uint64(value: Any, name: str) -> int:
    """Return an integer from 0 to 2**64 - 1. Raises TypeError or ValueError with what came."""
    # An int is neither asked nor converted: torch.compile would compile again for each value.
    whole = type(value) is int
    if isinstance(value, bool) or not (whole or hasattr(value, "__index__")):
        raise TypeError(
            f"{name} is a whole number from 0 to 2**64 - 1, not {value!r} "
            f"of type {type(value).__name__}"
        )
    number = value if whole else operator.index(value)
    if not 0 <= number < LIMIT:
        raise ValueError(f"{name} is a whole number from 0 to 2**64 - 1, not {number}")
    return number


def check_stream(stream: Any) -> str | None:
    """Return a stream's name, or None. Raises TypeError."""
    if stream is not None and not isinstance(stream, str):
        raise TypeError(f"stream is a name (a string) or None, not {stream!r}")
    return stream


@lru_cache(maxsize=4096)
def key(seed: int, stream: str | None) -> int:
    """Return the key of a checked seed and stream."""
    return stream_key(seed, stream)


def draw_key(seed: Any, stream: Any) -> int:
    """Return the key of a seed, as for `draw`, and of a stream."""
    drawn = draw(seed)
    return drawn if stream is None else key(drawn, check_stream(stream))


def draw(seed: Any) -> int:
    """Return a checked seed. Draws one from numpy.random for None, or from a generator."""
    if seed is None:
        return int(np.random.randint(0, 2**64, dtype=np.uint64))
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(0, 2**64, dtype=np.uint64))
    return check_uint64(seed, "seed")

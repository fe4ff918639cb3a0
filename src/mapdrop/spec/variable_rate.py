"""A rate that a compiled function reads whenever it runs: the two words of a float64.

Frameworks that have no numbers of 64 bits unless asked, as JAX, have integers of 32. So a rate
travels as they do, and is the one that Python has, to the last bit.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from mapdrop.spec.mask_spec import MaskSpec, mask_spec
from mapdrop.spec.pattern import Pattern
from mapdrop.spec.words import split

NOMINAL = 0.5
"""The rate of a spec whose own is variable; nothing may follow from it."""


@dataclass(frozen=True, eq=False)
class RateWords:
    """A rate in a framework's integers, (2,): the low and the high word of its float64."""

    words: Any


@dataclass(frozen=True, eq=False)
class VariableSpec:
    """A spec whose rate is known only when a compiled function runs.

    Attributes:
        nominal: the spec, at the rate `NOMINAL`.
        rate: the rate.
    """

    nominal: MaskSpec
    rate: RateWords


def rate_words(p: float) -> tuple[int, int]:
    """Return the low and the high word of a rate.

    >>> [hex(word) for word in rate_words(0.5)]
    ['0x0', '0x3fe00000']
    """
    (bits,) = struct.unpack("<Q", struct.pack("<d", p))
    return split(bits)


def variable_spec(pattern: str | Pattern, rate: RateWords, *options: Any) -> VariableSpec:
    """Return the spec of these arguments, which are those of `mask_spec`."""
    return VariableSpec(mask_spec(pattern, NOMINAL, *options), rate)

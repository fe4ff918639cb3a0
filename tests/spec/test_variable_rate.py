"""A rate as two words, and a spec whose rate comes later."""

from __future__ import annotations

import struct

import pytest

from mapdrop.spec.mask_spec import mask_spec
from mapdrop.spec.variable_rate import NOMINAL, RateWords, rate_words, variable_spec


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 2 / 3, 1.0])
def test_the_words_are_the_rate_s_bits(p: float) -> None:
    low, high = rate_words(p)
    assert struct.unpack("<d", struct.pack("<II", low, high)) == (p,)


def test_a_spec_with_a_rate_to_come_is_that_of_a_half() -> None:
    rate = RateWords([1, 2])
    made = variable_spec("b c -> b c", rate, "c")
    assert NOMINAL == 0.5
    assert made.nominal is mask_spec("b c -> b c", 0.5, exact="c")
    assert made.rate is rate
    assert made != variable_spec("b c -> b c", rate, "c"), "a rate is known by its identity"
    assert rate != RateWords([1, 2])

"""Seeds, streams and steps: which numbers they are, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mapdrop.spec import seed as seeds
from mapdrop.spec.words import stream_key


class Whole:
    """A whole number that is no int."""

    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("value", "number"),
    [(0, 0), (1, 1), (2**64 - 1, 2**64 - 1), (np.uint64(2**64 - 1), 2**64 - 1), (Whole(), 7)],
    ids=["0", "1", "greatest", "of NumPy", "an object"],
)
def test_whole_numbers_of_64_bits(value: Any, number: int) -> None:
    found = seeds.check_uint64(value, "step")
    assert (found, type(found)) == (number, int)
    assert seeds.draw(value) == number


@pytest.mark.parametrize("value", [-1, 2**64, np.int64(-1)], ids=str)
def test_other_whole_numbers_are_refused(value: Any) -> None:
    message = rf"step is a whole number from 0 to 2\*\*64 - 1, not {value}"
    with pytest.raises(ValueError, match=message):
        seeds.check_uint64(value, "step")
    with pytest.raises(ValueError, match="seed is a whole number"):
        seeds.draw(value)


@pytest.mark.parametrize("value", [True, False, 1.0, "1", [1]], ids=repr)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(
        TypeError, match=f"step is a whole number .* of type {type(value).__name__}"
    ):
        seeds.check_uint64(value, "step")


def test_streams_are_names_or_none() -> None:
    assert seeds.check_stream("a") == "a"
    assert seeds.check_stream(None) is None
    with pytest.raises(TypeError, match=r"a name \(a string\) or None, not 3"):
        seeds.check_stream(3)


def test_a_drawn_seed_is_the_generator_s_next_number_of_64_bits() -> None:
    wanted = np.random.RandomState(5).randint(0, 2**64, dtype=np.uint64, size=3)
    np.random.seed(5)
    assert [seeds.draw(None) for _ in range(3)] == [int(n) for n in wanted]
    wanted = np.random.default_rng(5).integers(0, 2**64, dtype=np.uint64, size=3)
    generator = np.random.default_rng(5)
    assert [seeds.draw(generator) for _ in range(3)] == [int(n) for n in wanted]


def test_the_key_of_a_seed_and_a_stream() -> None:
    assert seeds.draw_key(9, None) == 9
    assert seeds.draw_key(9, "a") == seeds.key(9, "a") == stream_key(9, "a") != 9
    with pytest.raises(TypeError, match="stream is a name"):
        seeds.draw_key(9, 3)

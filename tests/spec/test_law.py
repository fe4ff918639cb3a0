"""What a law says of itself: rates, numbers, sentences, and which coins decide which."""

from __future__ import annotations

import itertools
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from mapdrop.spec import law as laws
from mapdrop.spec import numpy_coins
from mapdrop.spec.law import BlockAxis, CoinSpace, Law

NAMES, SIZES = ("b", "c", "h"), (4, 10, 6)


@pytest.mark.parametrize(
    ("law", "axis", "rate", "expected"),
    [
        (Law(0.25), None, 0.25, 4 / 3),
        (Law(0.25, exact=1), 1, 0.2, 10 / 8),
        (Law(0.9, exact=0), 0, 1.0, 0.0),
        (Law(0.25, balance=2), 2, 0.25, 4 / 3),
        (Law(0.25, block=((2, 3),)), None, 0.25, 4 / 3),
        (Law(1.0), None, 1.0, 0.0),
        (Law(1.0, balance=0), 0, 1.0, 0.0),
        (Law(0.0), None, 0.0, 1.0),
    ],
    ids=str,
)
def test_the_rate_and_the_scale(law: Law, axis: int | None, rate: float, expected: float) -> None:
    assert law.axis == axis
    assert law.rate(SIZES) == pytest.approx(rate)
    assert laws.expected(law, SIZES) == pytest.approx(expected)


def test_of_no_coins_the_rate_is_p() -> None:
    assert Law(0.25, exact=1).rate((4, 0)) == 0.25


@pytest.mark.parametrize(
    ("law", "n", "most"),
    [
        (Law(0.25), 10, 10),
        (Law(0.25, block=((0, 2),)), 10, 10),
        (Law(0.25, exact=0), 10, 8),
        (Law(0.25, balance=0), 10, 8),
        (Law(0.25, balance=0), 8, 6),
        (Law(0.25, balance=0), 0, 0),
        (Law(1.0, balance=0), 10, 0),
        (Law(0.0, balance=0), 10, 10),
        (Law(2.0**-32, balance=0), 10, 10),
        (Law(1 - 2.0**-32, balance=0), 10, 1),
    ],
    ids=str,
)
def test_how_many_are_kept_at_most(law: Law, n: int, most: int) -> None:
    assert law.most(n) == most


@pytest.mark.parametrize(
    ("law", "sentence"),
    [
        (Law(0.25), ""),
        (Law(0.25, region="full"), ""),
        (Law(0.25, exact=1), "Of each 10 coins along c exactly 8 survive."),
        (Law(0.25, balance=1), "Of each 10 coins along c 7.5 survive, rounded up or down."),
        (Law(0.25, balance=0), "Of each 4 coins along b 3 survive, rounded up or down."),
        (Law(0.25, block=((1, 3), (2, 9))), "Coins fall in blocks of 3 x 6 along c, h."),
    ],
    ids=str,
)
def test_a_law_in_words(law: Law, sentence: str) -> None:
    assert law.sentence(NAMES, SIZES) == sentence


NEEDED = {
    "independent": (Law(0.5), 0, 2, 3, None),
    "exact": (Law(0.5, exact=0), 0, 2, 3, range(10)),
    "across exact": (Law(0.5, exact=1), 0, 2, 3, None),
    "balance": (Law(0.5, balance=0), 0, 2, 2, range(10)),
    "odd block": (Law(0.5, block=((0, 3),)), 0, 4, 5, range(3, 7)),
    "even block": (Law(0.5, block=((0, 4),)), 0, 4, 5, range(3, 8)),
    "at the first": (Law(0.5, block=((0, 4),)), 0, 0, 0, range(3)),
    "at the last": (Law(0.5, block=((0, 4),)), 0, 9, 9, range(8, 10)),
    "block of 1": (Law(0.5, block=((0, 1),)), 0, 4, 4, range(4, 5)),
    "another axis' block": (Law(0.5, block=((1, 3),)), 0, 4, 4, None),
    "second of two": (Law(0.5, block=((0, 3), (1, 2))), 1, 1, 2, range(1, 4)),
}


@pytest.mark.parametrize(("law", "axis", "low", "high", "wanted"), NEEDED.values(), ids=NEEDED)
def test_which_places_decide_some_coins(
    law: Law, axis: int, low: int, high: int, wanted: range | None
) -> None:
    assert laws.needed(law, (10, 6), axis, low, high) == wanted


def test_what_is_not_needed_decides_nothing() -> None:
    """Whatever falls outside the needed places, the coins from low to high stay."""
    for size, low, high in itertools.product((1, 2, 3, 4, 5), (0, 3, 8), (8, 9)):
        law = Law(0.5, block=((0, size),), region="full")
        (block,) = laws.block_axes(law, (10,))
        space = numpy_coins.NumpySpace((10,), 0, 0)
        places = laws.needed(law, (10,), 0, low, high)
        assert places is not None
        decides = set()
        for centre in range(10):
            fallen = np.arange(10) != centre
            if not space.erode(fallen, block)[low : high + 1].all():
                decides.add(centre)
        assert decides <= set(places)
        assert {places[0], places[-1]} <= decides


def test_where_centres_lie() -> None:
    law = Law(0.5, block=((0, 4), (2, 3)))
    wanted = (BlockAxis(0, 4, 10, 2, 8), BlockAxis(2, 3, 7, 1, 5))
    assert laws.block_axes(law, (10, 5, 7)) == wanted
    full = replace(law, region="full")
    assert laws.block_axes(full, (10, 5, 7)) == (
        *(BlockAxis(0, 4, 10, 0, 9), BlockAxis(2, 3, 7, 0, 6)),
    )
    assert laws.block_axes(law, (3, 5, 2)) == (BlockAxis(0, 3, 3, 1, 1), BlockAxis(2, 2, 2, 1, 1))


def test_the_search_for_the_centres_rate_is_as_fine_as_a_float() -> None:
    law = Law(0.1, block=((0, 7),))
    q = laws.centre_rate(law, (100,))
    number, times = laws.reaches(law, (100,))

    def dropped(q: float) -> float:
        return math.fsum((1 - (1 - q) ** number) * times) / 100

    assert number.sum() == 28  # From 1 to 7 centres reach a place.
    assert dropped(q) == pytest.approx(0.1, abs=1e-15)
    assert laws.HALVINGS == 64
    for p in (0, 1):
        found = laws.centre_rate(replace(law, p=p), (100,))
        assert (found, type(found)) == (p, float)


def test_a_rate_of_nearly_1() -> None:
    """The search reaches 1, whose logarithm it does not ask for."""
    p = math.nextafter(1, 0)
    assert laws.centre_rate(Law(p, block=((0, 1),)), (5,)) == pytest.approx(1, abs=1e-15)


def test_what_a_space_of_coins_must_have() -> None:
    own = {"words", "at_least", "high_word", "largest", "erode", "count", "ratio"}
    assert own == CoinSpace.__abstractmethods__


@pytest.mark.parametrize(
    ("words", "quota", "kept"),
    [
        ([0, 2**32 - 1, 100], 1, [1]),
        ([0, 2**32 - 1, 100], 2, [1, 2]),
        ([5, 6], 1, [1]),
        ([6, 5, 6], 1, [0]),
        ([5, 6], 0, []),
    ],
    ids=str,
)
def test_the_largest_words(words: list[int], quota: int, kept: list[int]) -> None:
    space = numpy_coins.NumpySpace((len(words),), 0, 0)
    found = space.largest(np.array(words, np.uint32), 0, quota)
    assert np.flatnonzero(found).tolist() == kept


def test_numbers_and_steps_of_coins() -> None:
    assert laws.numbered((2, 3, 4), None) == ((2, 3, 4), 0)
    assert laws.numbered((2, 3, 4), 1) == ((2, 1, 4), 24)
    assert laws.strides((2, 3, 4)) == (12, 4, 1)
    assert laws.strides(()) == ()


@pytest.mark.parametrize(
    ("loops", "merged"),
    [
        ([], [(1, 0)]),
        ([(1, 9)], [(1, 0)]),
        ([(3, 4), (4, 1)], [(12, 1)]),
        ([(3, 5), (4, 1)], [(3, 5), (4, 1)]),
        ([(2, 0), (3, 0)], [(6, 0)]),
        ([(2, 100), (3, 10), (5, 2)], [(2, 100), (15, 2)]),
        ([(2, 12), (1, 7), (3, 4), (2, 1)], [(6, 4), (2, 1)]),
        ([(1, 3), (2, 0), (1, 0), (4, 1)], [(2, 0), (4, 1)]),
    ],
    ids=str,
)
def test_loops_that_can_be_one(loops: list[tuple[int, int]], merged: list[tuple[int, int]]) -> None:
    assert list(laws.merged(loops)) == merged


def test_a_law_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Law(0.5).p = 0.3  # type: ignore[misc]

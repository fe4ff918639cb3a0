"""Sets of maps: the same bits as plain loops, however they are written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdrop.torch.compact.lattice import (
    AnyInBlock,
    AnySample,
    Bits,
    Both,
    Either,
    Joined,
    Kept,
    Maps,
    Nothing,
    Part,
    Repeated,
    Whole,
    any_in_block,
    any_sample,
    both,
    either,
    joined,
    part,
    repeated,
    union,
)

SAMPLES, C = 5, 12
RATES = {0: 0.5, 1: 0.7, 2: 0.2}
A, B, D = (Kept(n, C, RATES[n], SAMPLES, C) for n in RATES)


def masks(seed: int, samples: int = SAMPLES) -> dict[int, Bits]:
    generator = np.random.default_rng(seed)
    return {n: generator.random((samples, C)) < rate for n, rate in RATES.items()}


def loop(samples: int, channels: int, inside: Callable[[int, int], bool]) -> Bits:
    found = [[inside(n, c) for c in range(channels)] for n in range(samples)]
    return np.array(found, bool).reshape(samples, channels)


def naive(maps: Maps, drawn: dict[int, Bits], samples: int) -> Bits:
    """What each expression says, pair by pair."""
    if isinstance(maps, Whole):
        return loop(samples, maps.channels, lambda n, c: not isinstance(maps, Nothing))
    if isinstance(maps, Kept):
        return drawn[maps.number]
    if isinstance(maps, Both):
        left, right = (naive(m, drawn, samples) for m in (maps.left, maps.right))
        if isinstance(maps, Either):
            return loop(samples, maps.channels, lambda n, c: bool(left[n, c] or right[n, c]))
        return loop(samples, maps.channels, lambda n, c: bool(left[n, c] and right[n, c]))
    if isinstance(maps, Joined):
        rows = [naive(m, drawn, samples).tolist() for m in maps.parts]
        flat = [[bit for row in rows for bit in row[n]] for n in range(samples)]
        return np.array(flat, bool).reshape(samples, maps.channels)
    assert isinstance(maps, (Part, Repeated, AnyInBlock, AnySample))
    inner = naive(maps.inner, drawn, samples)
    rules: dict[type, Callable[[Any, int, int], bool]] = {
        Part: lambda m, n, c: bool(inner[n, m.first + c]),
        Repeated: lambda m, n, c: bool(inner[n, c // m.times]),
        AnyInBlock: lambda m, n, c: any(inner[n, c * m.size + i] for i in range(m.size)),
        AnySample: lambda m, n, c: any(inner[i, c] for i in range(samples)),
    }
    return loop(samples, maps.channels, lambda n, c: rules[type(maps)](maps, n, c))


def expressions(channels: int = C) -> st.SearchStrategy[Maps]:
    """Expressions over C channels, by the constructors that the planner uses."""
    atoms: st.SearchStrategy[Maps] = st.sampled_from([A, B, D, Whole(C), Nothing(C)])

    def larger(inner: st.SearchStrategy[Maps]) -> st.SearchStrategy[Maps]:
        first = st.integers(0, C - 1)
        return st.one_of(
            st.builds(both, inner, inner),
            st.builds(either, inner, inner),
            st.builds(any_sample, inner),
            st.builds(lambda m, k: part(joined([m, m]), k, C), inner, first),
            st.builds(lambda m, k: joined([part(m, 0, k + 1), part(m, k, C - k - 1)]), inner, first)
            .map(lambda m: part(m, 0, C)),
            st.builds(
                lambda m, k: repeated(any_in_block(m, k), k), inner, st.sampled_from([2, 3, 12])
            ),
            st.builds(lambda m, k: any_in_block(repeated(m, k), k), inner, st.sampled_from([1, 2])),
        )  # fmt: skip

    return st.recursive(atoms, larger, max_leaves=6)


@given(expressions(), st.integers(0, 99), st.integers(0, 4))
def test_bits_are_those_of_plain_loops(maps: Maps, seed: int, samples: int) -> None:
    drawn = masks(seed, samples)
    found = maps.bits(drawn, samples)
    assert found.shape == (samples, maps.channels) == (samples, C)
    assert np.array_equal(found, naive(maps, drawn, samples))


SMART: dict[str, tuple[Callable[[Maps, Maps], Maps], Callable[[Maps, Maps], Maps]]] = {
    "both": (both, Both),
    "either": (either, Either),
    "union": (lambda a, b: union([a, b, a]), Either),
    "joined": (lambda a, b: joined([a, b]), lambda a, b: Joined((a, b))),
    "joined thrice": (lambda a, b: joined([joined([a, b]), a]), lambda a, b: Joined((a, b, a))),
    "part": (lambda a, b: part(a, 3, 7), lambda a, b: Part(a, 3, 7)),
    "part of joined": (
        lambda a, b: part(joined([a, b]), 5, 11), lambda a, b: Part(Joined((a, b)), 5, 11),
    ),
    "all of it": (lambda a, b: part(a, 0, C), lambda a, b: Part(a, 0, C)),
    "repeated": (lambda a, b: repeated(a, 3), lambda a, b: Repeated(a, 3)),
    "repeated once": (lambda a, b: repeated(a, 1), lambda a, b: Repeated(a, 1)),
    "any in block": (lambda a, b: any_in_block(a, 4), lambda a, b: AnyInBlock(a, 4)),
    "any in block of one": (lambda a, b: any_in_block(a, 1), lambda a, b: AnyInBlock(a, 1)),
    "any in block of repeated": (
        lambda a, b: any_in_block(repeated(a, 4), 4), lambda a, b: AnyInBlock(Repeated(a, 4), 4),
    ),
    "any in smaller block of repeated": (
        lambda a, b: any_in_block(repeated(a, 4), 2), lambda a, b: AnyInBlock(Repeated(a, 4), 2),
    ),
    "any sample": (lambda a, b: any_sample(a), lambda a, b: AnySample(a)),
    "any sample twice": (
        lambda a, b: any_sample(any_sample(a)), lambda a, b: AnySample(AnySample(a)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("smart", "plain"), SMART.values(), ids=SMART)
@given(expressions(), expressions(), st.integers(0, 99))
def test_the_shortest_form_is_the_same_set(
    smart: Callable[[Maps, Maps], Maps],
    plain: Callable[[Maps, Maps], Maps],
    a: Maps,
    b: Maps,
    seed: int,
) -> None:
    drawn = masks(seed)
    short, long = smart(a, b), plain(a, b)
    assert short.channels == long.channels
    assert np.array_equal(short.bits(drawn, SAMPLES), naive(long, drawn, SAMPLES))


@given(expressions(), st.sets(st.sampled_from(sorted(RATES))), st.integers(0, 99))
def test_what_is_known_contains_the_set(maps: Maps, known: set[int], seed: int) -> None:
    drawn = masks(seed)
    only = {n: bits for n, bits in drawn.items() if n in known}
    larger = maps.where(known.__contains__).bits(only, SAMPLES)  # KeyError for what is unknown.
    assert larger.shape == (SAMPLES, C)
    assert not (maps.bits(drawn, SAMPLES) & ~larger).any()


@given(expressions())
def test_where_all_is_known_nothing_changes(maps: Maps) -> None:
    drawn = masks(1)
    same = maps.where(lambda number: True)
    assert np.array_equal(same.bits(drawn, SAMPLES), maps.bits(drawn, SAMPLES))


INDEPENDENT: dict[str, Maps] = {
    "kept": A,
    "both": both(A, B),
    "either": either(A, B),
    "either of three": union([A, B, D]),
    "joined": joined([A, D]),
    "part": part(joined([A, D]), 6, 12),
    "repeated": repeated(D, 3),
    "any in block": any_in_block(D, 4),
    "any in block of repeated": any_in_block(repeated(D, 2), 6),
    "any sample": any_sample(D),
    "nothing": Nothing(C),
    "whole": Whole(C),
}


@pytest.mark.parametrize("maps", INDEPENDENT.values(), ids=INDEPENDENT)
def test_the_density_is_the_share_that_is_seen(maps: Maps) -> None:
    shares = [maps.bits(masks(seed), SAMPLES).mean() for seed in range(2000)]
    assert abs(np.mean(shares) - maps.density) < 5 * np.std(shares) / len(shares) ** 0.5 + 1e-12


@pytest.mark.parametrize("maps", INDEPENDENT.values(), ids=INDEPENDENT)
def test_equal_expressions_are_one_key(maps: Maps) -> None:
    again = maps.where(lambda number: True)
    assert (again, hash(again)) == (maps, hash(maps))


def test_all_of_something_is_told_from_nothing() -> None:
    assert Whole(3) != Nothing(3)


def test_what_lies_in_a_set_is_not_written_twice() -> None:
    assert both(both(A, B), A) == both(A, B)
    assert either(both(A, B), A) == A

"""Sets of maps have the same bits as plain loops, whichever expression they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdrop.torch.graph.lattice import (
    AllMaps,
    AnyInBlock,
    AnySample,
    Bits,
    ChannelSlice,
    Concatenated,
    Intersection,
    Kept,
    MapSet,
    NoMaps,
    Repeated,
    Union,
    any_in_block,
    any_sample,
    channel_slice,
    concatenated,
    intersection,
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


def naive(maps: MapSet, drawn: dict[int, Bits], samples: int) -> Bits:
    """Return the bits of an expression, pair by pair."""
    if isinstance(maps, AllMaps | NoMaps):
        return loop(samples, maps.channels, lambda n, c: isinstance(maps, AllMaps))
    if isinstance(maps, Kept):
        return drawn[maps.number]
    if isinstance(maps, Intersection | Union):
        left, right = (naive(m, drawn, samples) for m in (maps.left, maps.right))
        if isinstance(maps, Union):
            return loop(samples, maps.channels, lambda n, c: bool(left[n, c] or right[n, c]))
        return loop(samples, maps.channels, lambda n, c: bool(left[n, c] and right[n, c]))
    if isinstance(maps, Concatenated):
        rows = [naive(m, drawn, samples).tolist() for m in maps.parts]
        flat = [[bit for row in rows for bit in row[n]] for n in range(samples)]
        return np.array(flat, bool).reshape(samples, maps.channels)
    assert isinstance(maps, (ChannelSlice, Repeated, AnyInBlock, AnySample))
    inner = naive(maps.inner, drawn, samples)
    rules: dict[type, Callable[[Any, int, int], bool]] = {
        ChannelSlice: lambda m, n, c: bool(inner[n, m.first + c]),
        Repeated: lambda m, n, c: bool(inner[n, c // m.times]),
        AnyInBlock: lambda m, n, c: any(inner[n, c * m.size + i] for i in range(m.size)),
        AnySample: lambda m, n, c: any(inner[i, c] for i in range(samples)),
    }
    return loop(samples, maps.channels, lambda n, c: rules[type(maps)](maps, n, c))


def expressions(channels: int = C) -> st.SearchStrategy[MapSet]:
    """Expressions over C channels, made by the functions that the dataflow uses."""
    atoms: st.SearchStrategy[MapSet] = st.sampled_from([A, B, D, AllMaps(C), NoMaps(C)])

    def larger(inner: st.SearchStrategy[MapSet]) -> st.SearchStrategy[MapSet]:
        first = st.integers(0, C - 1)
        return st.one_of(
            st.builds(intersection, inner, inner),
            st.builds(union, inner, inner),
            st.builds(any_sample, inner),
            st.builds(lambda m, k: channel_slice(concatenated([m, m]), k, C), inner, first),
            st.builds(
                lambda m, k: concatenated(
                    [channel_slice(m, 0, k + 1), channel_slice(m, k, C - k - 1)]
                ),
                inner,
                first,
            ).map(lambda m: channel_slice(m, 0, C)),
            st.builds(
                lambda m, k: repeated(any_in_block(m, k), k), inner, st.sampled_from([2, 3, 12])
            ),
            st.builds(lambda m, k: any_in_block(repeated(m, k), k), inner, st.sampled_from([1, 2])),
        )

    return st.recursive(atoms, larger, max_leaves=6)


@given(expressions(), st.integers(0, 99), st.integers(0, 4))
def test_bits_are_those_of_plain_loops(maps: MapSet, seed: int, samples: int) -> None:
    drawn = masks(seed, samples)
    found = maps.bits(drawn, samples)
    assert found.shape == (samples, maps.channels) == (samples, C)
    assert np.array_equal(found, naive(maps, drawn, samples))


SMART: dict[str, tuple[Callable[[MapSet, MapSet], MapSet], Callable[[MapSet, MapSet], MapSet]]] = {
    "intersection": (intersection, Intersection),
    "union": (union, Union),
    "union of three": (lambda a, b: union(union(a, b), a), Union),
    "concatenated": (lambda a, b: concatenated([a, b]), lambda a, b: Concatenated((a, b))),
    "concatenated thrice": (
        lambda a, b: concatenated([concatenated([a, b]), a]),
        lambda a, b: Concatenated((a, b, a)),
    ),
    "slice": (lambda a, b: channel_slice(a, 3, 7), lambda a, b: ChannelSlice(a, 3, 7)),
    "slice of concatenated": (
        lambda a, b: channel_slice(concatenated([a, b]), 5, 11),
        lambda a, b: ChannelSlice(Concatenated((a, b)), 5, 11),
    ),
    "all of it": (lambda a, b: channel_slice(a, 0, C), lambda a, b: ChannelSlice(a, 0, C)),
    "repeated": (lambda a, b: repeated(a, 3), lambda a, b: Repeated(a, 3)),
    "repeated once": (lambda a, b: repeated(a, 1), lambda a, b: Repeated(a, 1)),
    "any in block": (lambda a, b: any_in_block(a, 4), lambda a, b: AnyInBlock(a, 4)),
    "any in block of one": (lambda a, b: any_in_block(a, 1), lambda a, b: AnyInBlock(a, 1)),
    "any in block of repeated": (
        lambda a, b: any_in_block(repeated(a, 4), 4),
        lambda a, b: AnyInBlock(Repeated(a, 4), 4),
    ),
    "any in smaller block of repeated": (
        lambda a, b: any_in_block(repeated(a, 4), 2),
        lambda a, b: AnyInBlock(Repeated(a, 4), 2),
    ),
    "any sample": (lambda a, b: any_sample(a), lambda a, b: AnySample(a)),
    "any sample twice": (
        lambda a, b: any_sample(any_sample(a)),
        lambda a, b: AnySample(AnySample(a)),
    ),
}


@pytest.mark.parametrize(("smart", "plain"), SMART.values(), ids=SMART)
@given(expressions(), expressions(), st.integers(0, 99))
def test_the_shortest_expression_is_the_same_set(
    smart: Callable[[MapSet, MapSet], MapSet],
    plain: Callable[[MapSet, MapSet], MapSet],
    a: MapSet,
    b: MapSet,
    seed: int,
) -> None:
    drawn = masks(seed)
    short, long = smart(a, b), plain(a, b)
    assert short.channels == long.channels
    assert np.array_equal(short.bits(drawn, SAMPLES), naive(long, drawn, SAMPLES))


@given(expressions(), st.sets(st.sampled_from(sorted(RATES))), st.integers(0, 99))
def test_a_set_from_known_drops_contains_the_set(maps: MapSet, known: set[int], seed: int) -> None:
    drawn = masks(seed)
    only = {n: bits for n, bits in drawn.items() if n in known}
    larger = maps.from_known(known.__contains__).bits(
        only, SAMPLES
    )  # KeyError for what is unknown.
    assert larger.shape == (SAMPLES, C)
    assert not (maps.bits(drawn, SAMPLES) & ~larger).any()


@given(expressions())
def test_if_all_drops_are_known_nothing_changes(maps: MapSet) -> None:
    drawn = masks(1)
    same = maps.from_known(lambda number: True)
    assert np.array_equal(same.bits(drawn, SAMPLES), maps.bits(drawn, SAMPLES))


INDEPENDENT: dict[str, MapSet] = {
    "kept": A,
    "intersection": intersection(A, B),
    "union": union(A, B),
    "union of three": union(union(A, B), D),
    "concatenated": concatenated([A, D]),
    "slice": channel_slice(concatenated([A, D]), 6, 12),
    "repeated": repeated(D, 3),
    "any in block": any_in_block(D, 4),
    "any in block of repeated": any_in_block(repeated(D, 2), 6),
    "any sample": any_sample(D),
    "no maps": NoMaps(C),
    "all maps": AllMaps(C),
}


@pytest.mark.parametrize("maps", INDEPENDENT.values(), ids=INDEPENDENT)
def test_the_density_is_the_observed_share(maps: MapSet) -> None:
    shares = [maps.bits(masks(seed), SAMPLES).mean() for seed in range(2000)]
    assert abs(np.mean(shares) - maps.density) < 5 * np.std(shares) / len(shares) ** 0.5 + 1e-12


@pytest.mark.parametrize("maps", INDEPENDENT.values(), ids=INDEPENDENT)
def test_equal_expressions_have_equal_hashes(maps: MapSet) -> None:
    again = maps.from_known(lambda number: True)
    assert (again, hash(again)) == (maps, hash(maps))


def test_all_maps_differ_from_no_maps() -> None:
    every: MapSet = AllMaps(3)
    assert every != NoMaps(3)


def test_a_subset_is_simplified_away() -> None:
    assert intersection(intersection(A, B), A) == intersection(A, B)
    assert union(intersection(A, B), A) == A

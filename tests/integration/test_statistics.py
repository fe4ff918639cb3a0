"""How often coins fall, and that they fall independently: exact bounds, fixed seeds.

A guard passes where the count's two-sided binomial tail is at least ALPHA. Each has a twin, which
shows that the same guard, on as many coins, rejects a generator that is off by BIAS = 0.1 % (of the
rate). To do so in all but ALPHA of the cases takes about 93 (1 - p) / (p BIAS**2) coins:
9e7 for p = 0.5, 8e8 for 0.1. For p = 0.001 it would be 9e10 and for 1e-6 9e13, minutes and days:
there the count is bounded on 2**30 coins, which rejects a bias of 1 % and of 33 %, and the rest
is exact: a coin falls where its uniform word is less than T, and T is within 0.1 % of p * 2**32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, norm

from mapdrop.backends.cpu_coins import CompiledSpace
from mapdrop.spec import law as generic
from mapdrop.spec import numpy_coins
from mapdrop.spec import words as generator
from mapdrop.spec.law import Law, block_axes, threshold
from tests import reference
from tests.conftest import framework

ALPHA, BIAS = 1e-6, 1e-3
CHUNK = 1 << 24
MOST = 1 << 30
Bits = NDArray[np.bool_]


def accept(count: int, n: int, p: float, tests: int = 1) -> None:
    """`count` of n independent trials of probability p: no further out than chance allows."""
    tail = min(binom.cdf(count, n, p), binom.sf(count - 1, n, p))
    assert 2 * tail * tests >= ALPHA, f"{count} of {n} is {count / n:.9g}, not {p:.9g}"


def reject(count: int, n: int, p: float, tests: int = 1) -> None:
    with pytest.raises(AssertionError, match=f"{count} of {n} is"):
        accept(count, n, p, tests)


def needed(p: float, bias: float = BIAS) -> int:
    """Coins on which a rate of p * (1 + bias) is rejected, but for ALPHA of the cases."""
    other = p * (1 + bias)
    spread = math.sqrt(p * (1 - p)) + math.sqrt(other * (1 - other))
    return math.ceil((float(norm.isf(ALPHA / 2)) * spread / (other - p)) ** 2)


def visible(p: float, n: int) -> float:
    """The smallest bias that n coins reject, but for ALPHA of the cases."""
    low, high = 1e-9, 1 / p - 1
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if needed(p, middle) <= n else (middle, high)
    return high


def kept(law: Law, coins: tuple[int, ...], key: int, step: int) -> Bits:
    framework("numba")
    return generic.kept(law, CompiledSpace(coins, key, step, 2))


def chunks(p: float, n: int, key: int, first_step: int = 0) -> Iterator[Bits]:
    """n coins in pieces, each of a step of its own."""
    for number in range(-(-n // CHUNK)):
        count = min(CHUNK, n - number * CHUNK)
        yield kept(Law(p), (count,), key, first_step + number)


# --- The rate.

RATES = (1e-6, 0.001, 0.1, 0.5, 0.9, 0.999)


def dropped(p: float, n: int) -> int:
    return sum(int(bits.size - np.count_nonzero(bits)) for bits in chunks(p, n, key=2024))


@pytest.mark.parametrize("p", RATES)
def test_rate(p: float) -> None:
    n = min(max(needed(p), 1 << 20), MOST)
    accept(dropped(p, n), n, p)


@pytest.mark.parametrize("p", RATES)
def test_rate_twin(p: float) -> None:
    n = min(max(needed(p), 1 << 20), MOST)
    bias = BIAS if needed(p) <= MOST else visible(p, n)
    reject(dropped(p * (1 + bias), n), n, p)


@pytest.mark.parametrize("p", RATES)
def test_threshold_is_the_rate(p: float) -> None:
    assert abs(threshold(p) / 2**32 - p) < p * BIAS


def test_what_the_rare_rates_take() -> None:
    """The figures in this file's first lines."""
    assert needed(0.5) < 1e8
    assert 9e10 < needed(0.001) < 1e11
    assert 9e13 < needed(1e-6) < 1e14
    assert visible(0.001, MOST) < 0.01
    assert visible(1e-6, MOST) < 0.33


# --- Independence: two sets of fair coins agree in half of the places. Sums modulo 2 of fair coins
# are fair and independent, also those of a coin with its left and with its right neighbour.

FAIR = threshold(0.5) / 2**32
N = needed(0.5)


def agreement(one: Iterator[Bits], other: Iterator[Bits], copied: float = 0) -> int:
    """In how many places they agree, where a part of the other is copied from the one."""
    count = 0
    for a, b in zip(one, other, strict=True):
        if copied:
            b[:: round(1 / copied)] = a[:: round(1 / copied)]
        count += int(np.count_nonzero(a == b))
    return count


SEEDS = (0, 1, 2, 3, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**63 + 1, 2**64 - 1)


@pytest.mark.parametrize("pair", [*itertools.pairwise((*SEEDS, 0))], ids=str)
def test_seeds_are_independent(pair: tuple[int, int]) -> None:
    accept(agreement(chunks(0.5, N, pair[0]), chunks(0.5, N, pair[1])), N, FAIR)


STEPS = ((0, 100), (1, 2**32 + 1), (0, 2**63), (2**32, 2**64 - 100))


@pytest.mark.parametrize("pair", STEPS, ids=str)
def test_steps_are_independent(pair: tuple[int, int]) -> None:
    one, other = (chunks(0.5, N, 5, step) for step in pair)
    accept(agreement(one, other), N, FAIR)


def test_neighbouring_steps_are_independent() -> None:
    accept(agreement(chunks(0.5, N, 5, 0), chunks(0.5, N, 5, 1)), N, FAIR)


def test_seed_and_step_do_not_add() -> None:
    """Seed 1 at step t + 1 is not seed 2 at step t."""
    accept(agreement(chunks(0.5, N, 1, 1), chunks(0.5, N, 2, 0)), N, FAIR)


STREAMS = ((None, ""), ("layer1", "layer2"), ("a", "a "), ("drop", "Drop"), ("a", "a\0"))


@pytest.mark.parametrize("pair", STREAMS, ids=repr)
def test_streams_are_independent(pair: tuple[str | None, str | None]) -> None:
    one, other = (chunks(0.5, N, generator.stream_key(7, stream)) for stream in pair)
    accept(agreement(one, other), N, FAIR)


def test_one_stream_of_two_seeds() -> None:
    one, other = (chunks(0.5, N, generator.stream_key(seed, "layer")) for seed in (0, 1))
    accept(agreement(one, other), N, FAIR)


def test_agreement_twin() -> None:
    """One coin in a thousand copied: they agree 0.1 % more often."""
    reject(agreement(chunks(0.5, N, 0), chunks(0.5, N, 1), copied=BIAS), N, FAIR)


SAMPLES, CHANNELS = 1 << 18, 64
LAGS = {"coin": 1, "word": 2, "lane": 3, "block": 4, "block and a coin": 5, "tile": 256,
        "channel": 1, "sample": CHANNELS, "samples": 1000 * CHANNELS}  # fmt: skip


def _lagged(lag: int, copied: float = 0) -> int:
    """How often coins agree with those `lag` further on, in masks of (sample, channel)."""
    count = left = 0
    for number in range(-(-N // CHUNK)):
        bits = kept(Law(0.5), (SAMPLES, CHANNELS), 99, number).reshape(-1)
        pairs = min(N - left, bits.size - lag)
        one, other = bits[:pairs], bits[lag : lag + pairs].copy()
        count += agreement(iter([one]), iter([other]), copied)
        left += pairs
    assert N - left < len(bits) * 0.01
    return count + (N - left) // 2


@pytest.mark.parametrize("lag", LAGS.values(), ids=LAGS)
def test_coins_are_independent(lag: int) -> None:
    accept(_lagged(lag), N, FAIR)


def test_coins_twin() -> None:
    reject(_lagged(4, copied=BIAS), N, FAIR)


# --- Blocks: the centres are independent coins, so the map follows from them exactly.

BLOCKS: dict[str, tuple[tuple[int, ...], tuple[int, ...], str, float]] = {
    "1d-odd": ((9,), (3,), "valid", 0.5),
    "1d-even": ((9,), (4,), "valid", 0.5),
    "1d-even-full": ((9,), (4,), "full", 0.3),
    "1d-larger": ((5,), (8,), "valid", 0.4),
    "1d-larger-full": ((5,), (8,), "full", 0.4),
    "2d-odd": ((5, 6), (3, 3), "valid", 0.3),
    "2d-even": ((4, 5), (2, 2), "valid", 0.3),
    "2d-odd-and-even": ((5, 4), (3, 2), "valid", 0.5),
    "2d-full": ((3, 4), (3, 2), "full", 0.3),
    "2d-larger": ((2, 6), (7, 7), "valid", 0.3),
    "2d-larger-full": ((2, 6), (7, 7), "full", 0.3),
    "3d-odd": ((4, 4, 5), (3, 3, 3), "valid", 0.3),
    "3d-even-full": ((2, 2, 3), (2, 2, 2), "full", 0.2),
}
blocks = pytest.mark.parametrize(
    ("sizes", "block", "region", "p"), BLOCKS.values(), ids=BLOCKS
)  # fmt: skip


MAPS = 1 << 19


def _law(block: tuple[int, ...], region: str, p: float) -> Law:
    return Law(p, block=tuple(enumerate(block)), region=region)


def _configurations(
    sizes: tuple[int, ...], block: tuple[int, ...], region: str, p: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """For every set of centres that can fall: its probability, and the places it drops."""
    covering = reference.windows(sizes, block, region)
    centres = sorted({c for near in covering.values() for c in near})
    assert len(centres) <= 14
    reach = [len(near) for near in covering.values()]
    q = reference.centre_threshold(p, reach) / 2**32
    fallen = np.array(list(itertools.product([False, True], repeat=len(centres))))
    chance = np.prod(np.where(fallen, q, 1 - q), axis=1)
    places = [fallen[:, [centres.index(c) for c in near]].any(1) for near in covering.values()]
    return chance, np.stack(places, 1)


@blocks
def test_mean_drop_is_the_rate(
    sizes: tuple[int, ...], block: tuple[int, ...], region: str, p: float
) -> None:
    chance, places = _configurations(sizes, block, region, p)
    assert math.isclose(chance.sum(), 1, rel_tol=1e-12)
    assert abs((chance @ places).mean() - p) < 2**-32 * math.prod(block)


@blocks
def test_every_configuration(
    sizes: tuple[int, ...], block: tuple[int, ...], region: str, p: float
) -> None:
    """Each set of centres drops just the places in their windows; centres elsewhere drop none."""
    law = _law(block, region, p)
    covering = reference.windows(sizes, block, region)
    centres = sorted({c for near in covering.values() for c in near})
    _, places = _configurations(sizes, block, region, p)
    ranges = [range(block.first, block.last + 1) for block in block_axes(law, sizes)]
    assert list(itertools.product(*ranges)) == centres
    space = numpy_coins.NumpySpace(sizes, 0, 0)
    sets = itertools.product([False, True], repeat=len(centres))
    some = range(0, len(places), max(1, len(places) // 500))
    for number, fallen in enumerate(sets):
        if number not in some:
            continue
        kept = np.ones(sizes, bool)
        kept[tuple(zip(*centres, strict=True))] = ~np.array(fallen)
        for block in block_axes(law, sizes):
            kept = space.erode(kept, block)
        assert np.array_equal(~kept.ravel(), places[number])


def _samples(law: Law, sizes: tuple[int, ...], n: int) -> Iterator[Bits]:
    """Masks of n maps, the map's axes first."""
    each = (1 << 23) // math.prod(sizes)
    for number in range(-(-n // each)):
        yield kept(law, (*sizes, min(each, n - number * each)), 31, number)


def _place_counts(law: Law, sizes: tuple[int, ...], n: int) -> NDArray[np.int64]:
    axis = len(sizes)
    counts = np.zeros(sizes, np.int64)
    for bits in _samples(law, sizes, n):
        counts += bits.shape[axis] - np.count_nonzero(bits, axis=axis)
    return counts.ravel()


@blocks
def test_map_of_places(
    sizes: tuple[int, ...], block: tuple[int, ...], region: str, p: float
) -> None:
    """Each place falls as often as the sets of centres that drop it."""
    chance, places = _configurations(sizes, block, region, p)
    accept_all(_place_counts(_law(block, region, p), sizes, MAPS), chance @ places)


def accept_all(counts: NDArray[np.int64], rates: NDArray[np.float64]) -> None:
    for count, rate in zip(counts, rates, strict=True):
        accept(int(count), MAPS, rate, tests=len(rates))


def _off_by_one(law: Law, sizes: tuple[int, ...], n: int) -> NDArray[np.int64]:
    return np.roll(_place_counts(law, sizes, n).reshape(sizes), 1, 0).ravel()


BROKEN: dict[str, Callable[..., NDArray[np.int64]]] = {
    "moved by one place": _off_by_one,
    "other region": lambda law, sizes, n: _place_counts(
        Law(law.p, block=law.block, region="full"), sizes, n
    ),
    "block too small": lambda law, sizes, n: _place_counts(
        Law(law.p, block=tuple((a, k - 1) for a, k in law.block)), sizes, n
    ),
}


@pytest.mark.parametrize("counts", BROKEN.values(), ids=BROKEN)
def test_map_of_places_twin(counts: Callable[..., NDArray[np.int64]]) -> None:
    sizes, block, p = (9,), (3,), 0.5
    chance, places = _configurations(sizes, block, "valid", p)
    broken = counts(_law(block, "valid", p), sizes, MAPS)
    with pytest.raises(AssertionError, match=f"of {MAPS} is"):
        accept_all(broken, chance @ places)


MEANS = {name: BLOCKS[name] for name in ("1d-even", "2d-odd-and-even", "2d-larger")}


def _mean_is(law: Law, name: str) -> None:
    """The mean drop of enough maps to reject a bias of 0.1 %; its spread is enumerated."""
    sizes, block, region, p = BLOCKS[name]
    chance, places = _configurations(sizes, block, region, p)
    fraction = places.mean(1)
    spread = math.sqrt(chance @ (fraction - p) ** 2)
    n = math.ceil((2 * norm.isf(ALPHA / 2) * spread / (BIAS * p)) ** 2)
    total = sum(int(bits.size - np.count_nonzero(bits)) for bits in _samples(law, sizes, n))
    score = (total / n / math.prod(sizes) - p) / (spread / math.sqrt(n))
    assert abs(score) <= norm.isf(ALPHA / 2), f"the mean is {score:.1f} standard errors off"


@pytest.mark.parametrize("name", MEANS)
def test_mean_drop(name: str) -> None:
    _, block, region, p = BLOCKS[name]
    _mean_is(_law(block, region, p), name)


def test_mean_drop_twin() -> None:
    _, block, region, p = BLOCKS["1d-even"]
    with pytest.raises(AssertionError, match="standard errors off"):
        _mean_is(_law(block, region, p * (1 + BIAS)), "1d-even")


# --- Exact and balanced counts.


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.77, 0.99])
def test_exact_counts(axis: int, p: float) -> None:
    bits = kept(Law(p, exact=axis), (11, 13, 17), 5, 0)
    n = (11, 13, 17)[axis]
    assert (bits.sum(axis) == round((1 - p) * n)).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.77, 0.99])
def test_balanced_counts(axis: int, p: float) -> None:
    bits = kept(Law(p, balance=axis), (11, 13, 17), 5, 0)
    wanted = (1 - threshold(p) / 2**32) * (11, 13, 17)[axis]
    counts = bits.sum(axis)
    assert set(np.unique(counts)) == {math.floor(wanted), math.ceil(wanted)}


LINES = 1 << 20  # On which 1 % is rejected: each place is as likely as the words are uniform.


def _lines(law: Law, n: int, lines: int = LINES) -> Bits:
    """Lines of n coins."""
    return np.concatenate([kept(law, (lines // 8, n), 77, step) for step in range(8)])


@pytest.mark.parametrize(("n", "p"), [(4, 0.5), (5, 0.4)])
def test_exact_sets_are_equally_likely(n: int, p: float) -> None:
    bits = _lines(Law(p, exact=1), n)
    sets, counts = np.unique(bits @ (1 << np.arange(n)), return_counts=True)
    ways = math.comb(n, round((1 - p) * n))
    assert len(sets) == ways
    for count in counts:
        accept(int(count), LINES, 1 / ways, tests=ways)


def test_balance_keeps_each_coin_s_law() -> None:
    n, p = 5, 0.3
    rate = 1 - threshold(p) / 2**32
    bits = _lines(Law(p, balance=1), n)
    for count in bits.sum(0):
        accept(int(count), LINES, rate, tests=n)


def _lines_with_one_more(p: float) -> int:
    """Of 2**18 lines of 33 coins, of which 23.1 are kept for p = 0.3, those with 24."""
    return int((_lines(Law(p, balance=1), 33, 1 << 18).sum(1) == 24).sum())


def test_balance_keeps_the_rate() -> None:
    """How many lines keep one coin more is a sharp measure of the rate."""
    accept(_lines_with_one_more(0.3), 1 << 18, (1 - threshold(0.3) / 2**32) * 33 - 23)


def test_balance_twin() -> None:
    p = 0.3 * (1 + BIAS)
    reject(_lines_with_one_more(p), 1 << 18, (1 - threshold(0.3) / 2**32) * 33 - 23)


@pytest.mark.parametrize("law", [Law(0.5, exact=1), Law(0.3, balance=1)], ids=str)
def test_places_twin(law: Law) -> None:
    """One line in fifty keeps its first coin whatever falls."""
    bits = _lines(law, 4)
    rate = float(bits.mean())
    bits[::50, 0] = True
    reject(int(bits[:, 0].sum()), LINES, rate, tests=4)

"""The mask specification: its vectors, and every implementation of it against them and each other.

`tests/reference.py` is the independent reading of docs/mask-v1.md; `mapdrop.spec` the definition in
NumPy; `mapdrop.backends` make the same bits faster or elsewhere.
"""

from __future__ import annotations

import importlib.resources
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import mapdrop
from mapdrop import kernels
from mapdrop.backends.cpu_coins import BoxSpace, CompiledSpace
from mapdrop.spec import law as generic
from mapdrop.spec import numpy_coins
from mapdrop.spec import words as generator
from mapdrop.spec.law import Law, centre_rate, threshold
from mapdrop.spec.local_spec import Box
from mapdrop.spec.mask_spec import BoundSpec, mask_spec
from tests import reference
from tests.cases import ALL, Case
from tests.conftest import framework
from tests.make_vectors import FILE, text
from tests.one_by_one import kept_at

VECTORS = json.loads(
    importlib.resources.files("mapdrop").joinpath("vectors.json").read_text(encoding="utf-8")
)
Kept = Callable[[BoundSpec, int, int], NDArray[np.bool_]]


def cpu_kernels() -> Any:
    framework("numba")
    return kernels.for_cpu()


def _by_spec(asked: BoundSpec, key: int, step: int) -> NDArray[np.bool_]:
    return numpy_coins.kept(asked.law, asked.binding.coins, key, step)


def _by_cpu(asked: BoundSpec, key: int, step: int) -> NDArray[np.bool_]:
    cpu_kernels()
    return generic.kept(asked.law, CompiledSpace(asked.binding.coins, key, step, 2))


def _by_torch(asked: BoundSpec, key: int, step: int) -> NDArray[np.bool_]:
    torch = framework("torch")
    from mapdrop.backends.torch import coins as torch_coins

    made, _ = torch_coins.drawn(asked, torch.cat([_tensor(torch, key), _tensor(torch, step)]), None)
    return np.asarray(made.numpy())


def _one_by_one(asked: BoundSpec, key: int, step: int) -> NDArray[np.bool_]:
    """Each coin asked for alone."""
    shape = asked.binding.coins
    alone = [bool(kept_at(asked.law, shape, key, step, index)) for index in np.ndindex(shape)]
    return np.array(alone, bool).reshape(shape)


def _by_box(asked: BoundSpec, key: int, step: int) -> NDArray[np.bool_]:
    """As a part that is the whole."""
    sizes = asked.binding.coins
    return generic.kept(asked.law, BoxSpace(Box(sizes, tuple(map(np.arange, sizes))), key, step, 2))


def _tensor(torch: Any, number: int) -> Any:
    return torch.tensor([number - 2**64 * (number >= 2**63)])


MAKERS: dict[str, Kept] = {
    "numpy": _by_spec,
    "cpu": _by_cpu,
    "torch": _by_torch,
    "box": _by_box,
    "one by one": _one_by_one,
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
cases = pytest.mark.parametrize("case", ALL, ids=str)


def _plan(case: Case) -> BoundSpec:
    options = case.options
    spec = mask_spec(
        case.pattern, case.p,
        **{n: options[n] for n in ("exact", "balance", "region", "scale") if n in options},
        block=tuple(options.get("block", {}).items()),
        sizes=tuple((n, k) for n, k in options.items() if n not in reference.OPTIONS),
    )  # fmt: skip
    return spec.bind(case.shape)


# --- The file of vectors.


def test_vectors_are_what_the_reference_gives() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run python -m tests.make_vectors"


@pytest.mark.parametrize("row", VECTORS["random123"], ids=lambda row: row["counter"][:8])
def test_random123(row: dict[str, str]) -> None:
    a, b, c, d = (int(w, 16) for w in row["counter"].split())
    low, high = (int(w, 16) for w in row["key"].split())
    words = generator.philox((a, b, c, d), (low, high))
    assert " ".join(f"{int(w):08x}" for w in words) == row["words"]


@pytest.mark.parametrize("row", VECTORS["random123"], ids=lambda row: row["counter"][:8])
def test_random123_torch(row: dict[str, str]) -> None:
    torch = framework("torch")
    from mapdrop.backends.torch import coins as torch_coins

    counter = tuple(torch.tensor([int(w, 16)]) for w in row["counter"].split())
    low, high = (torch.tensor([int(w, 16)]) for w in row["key"].split())
    words = torch_coins.philox(counter, (low, high))
    assert " ".join(f"{int(w):08x}" for w in words) == row["words"]


def test_this_is_version_1() -> None:
    assert generator.VERSION == 1


def test_words_are_those_from_the_first_coin_on() -> None:
    wanted = generator.words(np.arange(6, dtype=np.uint64), 9, 3)
    assert generator.all_words(6, 9, 3).tolist() == wanted.tolist()


def test_counter_1() -> None:
    """The words that TensorFlow's and Triton's generators were seen to give."""
    words = generator.philox((1, 0, 0, 0), (0, 0))
    assert [f"{int(w):08x}" for w in words] == ["f8e4cca4", "5cb200db", "b1a574eb", "097eff67"]


@pytest.mark.parametrize("row", VECTORS["keys"], ids=lambda row: f"{row['seed']}-{row['stream']}")
def test_keys(row: dict[str, str]) -> None:
    seed, key = int(row["seed"], 16), int(row["key"], 16)
    assert generator.stream_key(seed, row["stream"]) == key
    torch = framework("torch")
    from mapdrop.backends.torch import coins as torch_coins

    made = torch_coins.stream_key(_tensor(torch, seed), row["stream"])
    assert int(made) % 2**64 == key


def _word_ids(row: dict[str, str]) -> str:
    return "-".join(str(row[name]) for name in ("seed", "stream", "step", "coin"))


@pytest.mark.parametrize("row", VECTORS["words"], ids=_word_ids)
def test_words(row: dict[str, str]) -> None:
    seed, step, coin = (int(row[name], 16) for name in ("seed", "step", "coin"))
    key = generator.stream_key(seed, row["stream"])
    wanted = int(row["word"], 16)
    assert generator.words(np.uint64(coin), key, step) == wanted  # type: ignore[arg-type]
    assert generator.words(np.array([[coin]], np.uint64), key, step).tolist() == [[wanted]]
    assert cpu_kernels().words(1, key, step, coin).tolist() == [wanted]
    if coin < 2**62:
        assert generator.all_words(1, key, step, coin).tolist() == [wanted]


@pytest.mark.parametrize("row", VECTORS["thresholds"], ids=lambda row: str(row["p"]))
def test_thresholds(row: dict[str, Any]) -> None:
    assert threshold(row["p"]) == row["T"]


@pytest.mark.parametrize("row", VECTORS["masks"], ids=lambda row: str(row["name"]))
@makers
def test_masks(row: dict[str, Any], make: Kept) -> None:
    block, sizes = row.get("block", {}), row.get("sizes", {})
    options = {n: row[n] for n in ("exact", "balance", "region", "scale") if n in row}
    asked = mask_spec(
        row["pattern"], row["p"], **options,
        block=tuple(block.items()), sizes=tuple(sizes.items()),
    ).bind(tuple(row["shape"]))  # fmt: skip
    key = generator.stream_key(int(row["seed"], 16), row.get("stream"))
    bits = make(asked, key, int(row.get("step", "0"), 16))
    assert bits.dtype == bool
    assert list(bits.shape) == row["coins"]
    assert np.packbits(bits).tobytes().hex() == row["kept"]
    if bits.size:
        scale = np.ravel(asked.factor(numpy_coins.NumpySpace(bits.shape, 0, 0), bits))
        assert [n.tobytes()[::-1].hex() for n in scale.astype("<f8")] == row["scale64"]
        assert [n.tobytes()[::-1].hex() for n in scale.astype("<f4")] == row["scale32"]


def test_every_kind_has_vectors() -> None:
    rows = VECTORS["masks"]
    for kind in ("exact", "balance", "block", "stream", "step", "sizes", "region", "scale"):
        assert any(kind in row for row in rows), kind
    assert {row["name"] for row in rows} == {case.name for case in ALL}


# --- Properties: any seed, step, law and shape.

U64S = st.one_of(st.integers(0, 9), st.integers(0, 2**64 - 1), st.sampled_from([2**32, 2**63]))
RATES = st.one_of(st.floats(0, 1), st.sampled_from([1e-6, 0.001, 0.1, 0.5, 0.9, 0.999]))


@st.composite
def laws(draw: st.DrawFn) -> tuple[Law, tuple[int, ...]]:
    coins = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
    p = draw(RATES)
    axes = st.integers(0, max(len(coins) - 1, 0))
    kind = draw(st.sampled_from(["independent", "exact", "balance", "block"])) if coins else ""
    if kind == "exact":
        return Law(p, exact=draw(axes)), coins
    if kind == "balance":
        return Law(p, balance=draw(axes)), coins
    if kind == "block":
        chosen = sorted(draw(st.sets(axes, min_size=1)))
        block = tuple((axis, draw(st.integers(1, 7))) for axis in chosen)
        return Law(p, block=block, region=draw(st.sampled_from(["valid", "full"]))), coins
    return Law(p), coins


def test_any_field_but_the_rate_ties_coins() -> None:
    """Or the kernels would draw each coin alone. The region is that of blocks."""
    tied: dict[str, Any] = {"exact": 0, "balance": 0, "block": ((0, 3),)}
    assert {field.name for field in fields(Law)} == {"p", "region", *tied}
    assert not any(Law(0.3, **{name: value}).independent for name, value in tied.items())
    assert Law(0.3, region="full").independent


@given(laws(), U64S, U64S)
def test_numpy_is_the_reference(case: tuple[Law, tuple[int, ...]], key: int, step: int) -> None:
    law, coins = case
    wanted = reference.kept(
        coins, law.p, key, step,
        exact=law.exact, balance=law.balance, block=dict(law.block), region=law.region,
    )  # fmt: skip
    made = numpy_coins.kept(law, coins, key, step)
    assert made.shape == coins
    assert made.ravel().tolist() == list(wanted.values())


@given(laws(), U64S, U64S, st.integers(1, 4))
def test_cpu_is_numpy(case: tuple[Law, tuple[int, ...]], key: int, step: int, threads: int) -> None:
    law, coins = case
    cpu_kernels()
    made = generic.kept(law, CompiledSpace(coins, key, step, threads))
    assert made.dtype == bool
    assert np.array_equal(made, numpy_coins.kept(law, coins, key, step))


@given(laws(), U64S, U64S)
def test_one_coin_is_the_whole_s(case: tuple[Law, tuple[int, ...]], key: int, step: int) -> None:
    law, coins = case
    if 0 in coins:
        return
    whole = numpy_coins.kept(law, coins, key, step)
    every = np.indices(coins).reshape(len(coins), math.prod(coins))
    alone = kept_at(law, coins, key, step, tuple(every))
    assert np.array_equal(alone.reshape(whole.shape), whole)


@given(st.integers(0, 2**62), st.integers(0, 900), U64S, U64S)
def test_words_from_anywhere(start: int, count: int, key: int, step: int) -> None:
    whole = generator.all_words(count, key, step, start)
    assert np.array_equal(cpu_kernels().words(count, key, step, start), whole)
    index = np.uint64(start) + np.arange(count, dtype=np.uint64)
    assert np.array_equal(generator.words(index, key, step), whole)


@given(RATES, st.lists(st.tuples(st.integers(1, 12), st.integers(1, 14)), min_size=1, max_size=2))
@pytest.mark.parametrize("region", ["valid", "full"])
def test_centres_threshold(region: str, p: float, axes: list[tuple[int, int]]) -> None:
    """The bisection in float64 finds the T that 60 decimal digits find."""
    sizes, blocks = zip(*axes, strict=True)
    law = Law(p, block=tuple(enumerate(blocks)), region=region)
    reach = [len(c) for c in reference.windows(sizes, blocks, region).values()]
    made = threshold(centre_rate(law, sizes))
    assert made == reference.centre_threshold(p, reach)


# --- Large: where threads share the work, and beyond 32 bits.

LARGE = {
    "independent": (Law(0.3), (3, 1 << 18)),
    "independent-odd": (Law(0.3), (786_433,)),
    "exact": (Law(0.3, exact=1), (300, 1001)),
    "exact-first": (Law(0.3, exact=0), (300, 1001)),
    "balance": (Law(0.3, balance=0), (300, 1001)),
    "block": (Law(0.3, block=((2, 7), (3, 4))), (5, 8, 97, 101)),
    "block-first": (Law(0.3, block=((0, 50),), region="full"), (601, 1001)),
}


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize(("law", "coins"), LARGE.values(), ids=LARGE)
def test_threads_do_not_matter(law: Law, coins: tuple[int, ...], threads: int) -> None:
    key, step = 2**63 + 2**32 + 5, 2**40 + 3
    cpu_kernels()
    made = generic.kept(law, CompiledSpace(coins, key, step, threads))
    assert np.array_equal(made, numpy_coins.kept(law, coins, key, step))


@pytest.mark.parametrize("start", [0, 3, 2**32 - 5, 2**34 - 100_001, 2**63 - 7, 2**64 - 300_001])
@pytest.mark.parametrize("threads", [1, 3])
def test_words_of_large_numbers(start: int, threads: int) -> None:
    made = cpu_kernels().words(300_001, 9, 2**64 - 1, start, threads)
    index = np.uint64(start) + np.arange(300_001, dtype=np.uint64)
    assert np.array_equal(made, generator.words(index, 9, 2**64 - 1))


FAR = {
    "independent": Law(0.5),
    "exact": Law(0.5, exact=2),
    "balance": Law(0.5, balance=2),
    "block": Law(0.5, block=((0, 3), (2, 3))),
}


@pytest.mark.parametrize("law", FAR.values(), ids=FAR)
def test_one_coin_far_away(law: Law) -> None:
    """An index beyond 2**32 costs that coin, not the 2**46 coins before it."""
    coins = (2**20, 2**22, 16)
    at = (np.array([2**19, 2**20 - 1]), np.array([5, 2**22 - 1]), np.array([3, 15]))
    made = kept_at(law, coins, 11, 0, at)

    def word(*index: int) -> int:
        return reference.word((index[0] * coins[1] + index[1]) * coins[2] + index[2], 11)

    for bit, i, j, k in zip(made, *at, strict=True):
        place = int(i), int(j), int(k)
        if law.block:
            rate = centre_rate(law, coins)
            near = [range(max(c - 1, 0), min(c + 2, n)) for c, n in zip(place, coins, strict=True)]
            # A whole block of 3 has its centre nowhere on the border.
            fit = [[c for c in r if 0 < c < n - 1] for r, n in zip(near, coins, strict=True)]
            hit = [word(a, place[1], c) for a, c in itertools.product(fit[0], fit[2])]
            assert bit == (min(hit) >= threshold(rate))
        elif law.independent:
            assert bit == (word(*place) >= 2**31)
        else:
            line = [word(*place[:2], n) for n in range(16)]
            t = 8
            if law.balance is not None:
                row = place[0] * coins[1] + place[1]
                t = (2**31 * 16 + reference.word(math.prod(coins) + row, 11)) >> 32
            assert bit == (sorted(line)[16 - t] <= line[place[2]])


@makers
@pytest.mark.parametrize("block", [False, True], ids=["independent", "block of 1"])
def test_a_word_that_is_the_threshold_is_kept(make: Kept, block: bool) -> None:
    """Dropped is what lies below: the rate is T / 2**32, not one more."""
    words = [reference.word(coin, 7) for coin in range(9)]
    for coin, word in enumerate(words):
        for above in (0, 1):
            p = (word + above) / 2**32
            asked = mask_spec("c -> c", p, block=(("c", 1),) if block else ()).bind((9,))
            assert bool(make(asked, 7, 0)[coin]) == (above == 0)
            assert make(asked, 7, 0).tolist() == [other >= word + above for other in words]


def test_ties_go_to_the_lower_index(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.array([5, 9, 5, 5, 1, 9], np.uint32)
    monkeypatch.setattr(numpy_coins, "all_words", lambda count, *_: drawn[:count])
    made = numpy_coins.kept(Law(0.5, exact=0), (6,), 0, 0)
    assert made.tolist() == [True, True, False, False, False, True]
    torch = framework("torch")
    from mapdrop.backends.torch import coins as torch_coins

    words = torch.tensor([5, 9, 5, 5, 1, 9])
    monkeypatch.setattr(torch_coins, "words", lambda count, *_: words[:count])
    asked = mask_spec("b -> b", 0.5, exact="b").bind((6,))
    coins, _ = torch_coins.drawn(asked, words[:1], None)
    assert coins.tolist() == made.tolist()


# --- Mask and drop follow the same specification.


@cases
def test_mask_has_the_coins(case: Case) -> None:
    shape, bits, scales = reference.mask(case.pattern, case.shape, case.p, **case.options)
    made = mapdrop.mask(case.pattern, case.shape, case.p, **case.options)
    assert made.coins.shape == shape
    assert made.coins.ravel().tolist() == list(bits.values())
    each = np.broadcast_to(made.scale, shape)
    assert each.ravel().tolist() == list(scales.values())

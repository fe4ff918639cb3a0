"""Masks of blocks by the compiled kernels, against the definition in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mapdrop.kernels
from mapdrop.backends import numpy
from mapdrop.backends.cpu_coins import CompiledSpace
from mapdrop.spec import law as laws
from mapdrop.spec import numpy_coins
from mapdrop.spec.law import Law
from mapdrop.spec.mask_spec import mask_spec
from tests.conftest import framework

KEY, STEP = 2**63 + 2**32 + 5, 2**40 + 3
EDGES = (1, 2, 3, 4, 5, 8, 12, 63, 64, 65, 127, 128, 129, 255, 256, 257)
REGIONS = ("valid", "full")
PATTERNS = (
    "b c t h w -> b t h w c",  # A coin for each value: the mask lies as the values do.
    "b c t h w -> b h w t",  # A coin for each t, h and w: so do its rows.
    "(m n) c t h w -> m t h w c",  # The last of the samples is alone.
)
Order = tuple[int, ...]

# Sizes, the order of the axes in memory, and blocks.
CASES: dict[str, tuple[tuple[int, ...], Order, tuple[tuple[int, int], ...]]] = {
    "a plane": ((3, 4, 28, 28), (0, 1, 2, 3), ((2, 7), (3, 7))),
    "even blocks": ((3, 4, 28, 28), (0, 1, 2, 3), ((2, 4), (3, 6))),
    "an odd plane": ((31, 9, 11, 13), (0, 1, 2, 3), ((2, 3), (3, 4))),
    "four rows at once": ((3, 14, 15, 8), (0, 3, 1, 2), ((1, 7), (2, 6))),
    "four rows of four axes": ((2, 5, 4, 6, 12), (0, 4, 1, 2, 3), ((1, 3), (2, 3), (3, 3))),
    "four rows under two axes": ((3, 5, 6, 7, 8), (1, 0, 4, 2, 3), ((2, 3), (3, 3))),
    "four rows, and blocks across them": ((4, 33, 24), (0, 2, 1), ((1, 7), (2, 5))),
    "rows that are not by four": ((3, 14, 15, 6), (0, 3, 1, 2), ((1, 7), (2, 6))),
    "blocks in no order of axes": ((5, 8, 9, 12), (3, 1, 0, 2), ((0, 3), (3, 5))),
    "far": ((2, 40, 700), (0, 1, 2), ((1, 7),)),
    "far and near": ((2, 30, 21, 260), (0, 1, 2, 3), ((1, 7), (2, 7))),
    "far, and all within one block": ((2, 70, 513), (0, 1, 2), ((1, 70),)),
    "one long line": ((100_003,), (0,), ((0, 50),)),
    "a line of one": ((7, 1, 5000), (0, 1, 2), ((1, 3),)),
}


def drawn(law: Law, sizes: tuple[int, ...], order: Order, threads: int = 1) -> Any:
    framework("numba")
    return laws.kept(law, CompiledSpace(sizes, KEY, STEP, threads, order))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize(("sizes", "order", "block"), CASES.values(), ids=CASES)
def test_the_mask_is_the_definition_s(
    sizes: tuple[int, ...],
    order: Order,
    block: tuple[tuple[int, int], ...],
    region: str,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "mapdrop.kernels.block.GRAIN", 1
    )  # Or so few coins would be drawn by one thread.
    law = Law(0.3, block=block, region=region)
    wanted = numpy_coins.kept(law, sizes, KEY, STEP)
    assert 0.4 < wanted.mean() < 0.95
    assert np.array_equal(drawn(law, sizes, order, threads), wanted)


@pytest.mark.parametrize("k", [1, 2, 3, 7, 8, 9, 31, 63, 64, 65, 66, 200])
@pytest.mark.parametrize("n", [1, 63, 64, 65, 128, 130])
@pytest.mark.parametrize("region", REGIONS)
def test_blocks_of_every_size_beside_lines_of_every_length(n: int, k: int, region: str) -> None:
    law = Law(0.4, block=((1, k),), region=region)
    for sizes, order in (((50, n), (0, 1)), ((6, n, 8), (0, 2, 1)), ((6, n, 300), (0, 1, 2))):
        wanted = numpy_coins.kept(law, sizes, KEY, STEP)
        assert np.array_equal(drawn(law, sizes, order), wanted)


@st.composite
def masks(draw: st.DrawFn) -> tuple[Law, tuple[int, ...], Order]:
    sizes = draw(st.lists(st.sampled_from(EDGES), min_size=1, max_size=4))
    while math.prod(sizes) > 50_000:
        sizes.remove(max(sizes))
    axes = st.integers(0, len(sizes) - 1)
    sides = st.one_of(st.integers(1, 9), st.sampled_from(EDGES))
    block = tuple((axis, draw(sides)) for axis in sorted(draw(st.sets(axes, min_size=1))))
    law = Law(draw(st.sampled_from([0.1, 0.5])), block=block, region=draw(st.sampled_from(REGIONS)))
    return law, tuple(sizes), tuple(draw(st.permutations(range(len(sizes)))))


@given(masks())
def test_any_mask_is_the_definition_s(case: tuple[Law, tuple[int, ...], Order]) -> None:
    law, sizes, _ = case
    assert np.array_equal(drawn(*case), numpy_coins.kept(law, sizes, KEY, STEP))


@pytest.mark.parametrize(("maps", "lies"), [(8, (0, 3, 1, 2)), (6, (0, 1, 2, 3))])
def test_a_mask_lies_as_asked_where_rows_come_by_four(maps: int, lies: Order) -> None:
    """Or nothing above would draw four rows at once."""
    made = drawn(Law(0.3, block=((1, 3),)), (2, 5, 7, maps), (0, 3, 1, 2))
    assert made.transpose(lies).flags.c_contiguous


@pytest.mark.parametrize("scale", ["expected", "batch", None])
@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_values_meet_their_coins(pattern: str, region: str, scale: Any) -> None:
    """Also where a mask lies in memory as the values do, and not as the coins are numbered."""
    x = np.random.default_rng(0).normal(size=(5, 12, 8, 9, 10)).astype(np.float32)
    sizes = (("n", 2),) if "n" in pattern else ()
    law: dict[str, Any] = {"block": (("h", 3), ("w", 4)), "region": region, "scale": scale}
    spec = mask_spec(pattern, 0.2, sizes=sizes, ragged=bool(sizes), **law)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapdrop.kernels, "for_cpu", lambda: None)
        wanted = numpy.drop(x, spec, seed=5)
    assert np.array_equal(numpy.drop(x, spec, seed=5), wanted)

"""DropBlock: which blocks fall, and how often, in the old calls and in the new.

Centres are independent coins, so everything follows from their rate q: a place that c centres
cover falls with probability 1 - (1 - q)**c, and a map stays whole with (1 - q)**(all centres). The
old calls take q from the paper's closed form; the figures of the page are what comes of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import mapdrop
from mapdrop.spec.law import Law, centre_rate, threshold
from tests import checks, reference
from tests.conftest import framework
from tests.docs.coming_from import cases, page
from tests.docs.coming_from.cases import CASES, OLD_TIMM_BLOCK, TORCHVISION_BLOCK, Blocks, named
from tests.docs.coming_from.law import Array, Drop, check_independence, observe
from tests.integration.test_statistics import Bits, accept

SIDE, DRAWS = 7, 12
NEAR = 3  # So many times as many where the old rate is within a tenth of p.
TABLE = page.table("What DropBlock drops")
Sizes = tuple[int, ...]
ROWS: dict[str, tuple[Sizes, float, dict[str, str]]] = {
    f"{sizes}, p = {p}": (
        tuple(map(int, sizes.split("x"))), float(p), {"valid": valid, "full": full, "new": new},
    )
    for sizes, _, p, valid, full, new in TABLE
}  # fmt: skip
rows = pytest.mark.parametrize("row", ROWS)
blocks = pytest.mark.parametrize(
    ("heading", "number"), named(Blocks).values(), ids=named(Blocks)
)  # fmt: skip


def old_rate(sizes: Sizes, p: float) -> float:
    """The paper's closed form for the centres' rate."""
    inside = np.prod([n - SIDE + 1 for n in sizes])
    return float(p * np.prod(sizes) / SIDE**2 / inside)


@cache
def reach(sizes: Sizes, region: str) -> tuple[int, ...]:
    """How many centres cover each place."""
    return tuple(map(len, reference.windows(sizes, (SIDE, SIDE), region).values()))


def new_rate(sizes: Sizes, region: str, p: float) -> float:
    """The one for which the mean drop is p."""
    return reference.centre_threshold(p, reach(sizes, region)) / 2**32


def chances(sizes: Sizes, region: str, q: float) -> NDArray[np.float64]:
    """Of each place to fall."""
    return 1 - (1 - q) ** np.array(reach(sizes, region))


def observed(drop: Drop, sizes: Sizes, coupled: bool, draws: int = DRAWS) -> Bits:
    """Maps of independent coins: (draws, samples, maps, h, w)."""
    shape = (512, 2, *sizes) if coupled else (16, 64, *sizes)
    kept = observe(drop, checks.inputs(shape), None, draws)
    if not coupled:
        return kept
    assert (kept == kept[:, :, :1]).all(), "the maps of a sample differ"
    return kept[:, :, :1]


def check_rate(kept: Bits, region: str, q: float) -> None:
    sizes = kept.shape[-2:]
    maps = kept.reshape(-1, *sizes)
    fallen = len(maps) - maps.sum(0).ravel()
    for count, chance in zip(fallen, chances(sizes, region, q), strict=True):
        accept(int(count), len(maps), chance, tests=fallen.size)


def check_blocks(kept: Bits, region: str, q: float) -> None:
    """The rate at each place, only whole blocks, and maps that are independent."""
    check_rate(kept, region, q)
    sizes = kept.shape[-2:]
    fallen = ~kept.reshape(-1, *sizes)[:512]
    window = np.ones((1, SIDE, SIDE), bool)
    # Where a block's centre can be: all of the block fell, or all of it that is on the map.
    centres = ndimage.binary_erosion(fallen, window, border_value=region == "full")
    assert (ndimage.binary_dilation(centres, window) == fallen).all(), "not only whole blocks fell"
    inside = {"valid": np.prod([n - SIDE + 1 for n in sizes]), "full": np.prod(sizes)}[region]
    whole, blank = np.asarray(kept.all((-2, -1))), (1 - q) ** inside
    accept(int(whole.sum()), whole.size, blank)
    check_independence(whole, blank)


@rows
@blocks
def test_old_law(heading: str, number: int, row: str) -> None:
    """By the closed form; so the mean is the page's figure, and p only where that is p."""
    (sizes, p, figures), case = ROWS[row], CASES[heading][number]
    assert isinstance(case, Blocks)
    figure, q = figures[case.region], old_rate(sizes, p)
    near = 0 < abs(float(figure) / p - 1) < 0.1
    drop = cases.turned(heading, number, p).old
    kept = observed(drop, sizes, case.coupled, DRAWS * (NEAR if near else 1))
    check_blocks(kept, case.region, q)
    assert f"{chances(sizes, case.region, q).mean():.3f}" == figure
    if float(figure) != p:
        with pytest.raises(AssertionError, match=r" of \d+ is "):
            check_rate(kept, case.region, new_rate(sizes, case.region, p))


@rows
@blocks
def test_new_law(heading: str, number: int, row: str) -> None:
    """The same blocks at the rate that was asked for."""
    (sizes, p, figures), case = ROWS[row], CASES[heading][number]
    assert isinstance(case, Blocks)
    kept = observed(cases.turned(heading, number, p).new, sizes, case.coupled)
    q = new_rate(sizes, case.region, p)
    check_blocks(kept, case.region, q)
    assert abs(chances(sizes, case.region, q).mean() - p) < 1e-8
    assert figures["new"] == f"{p:.3f}"


def test_every_row_is_of_the_side_that_the_blocks_have() -> None:
    assert {row[1] for row in TABLE} == {str(SIDE)}
    assert len(ROWS) == len(TABLE) == 3


def test_the_true_rate_told_gives_the_old_law() -> None:
    found = re.search(r"for 14x14 maps\n`p=([\d.]+)` is the same law", page.TEXT)
    assert found
    q = old_rate((14, 14), 0.1)
    mean = chances((14, 14), "valid", q).mean()
    assert found[1] == f"{mean:.4f}"
    law = Law(mean, block=((0, SIDE), (1, SIDE)))
    assert threshold(centre_rate(law, (14, 14))) == round(q * 2**32)
    told = cases.turned(TORCHVISION_BLOCK, 1, float(found[1])).new
    check_blocks(observed(told, (14, 14), coupled=False), "valid", q)


# --- What is said of scale and of 16 bits.


def test_the_default_scale_does_not_look_at_other_samples() -> None:
    x = checks.inputs((8, 4, 14, 14))
    given: dict[str, Any] = {"block": {"h": 7, "w": 7}, "seed": 3}

    def alone(**more: Any) -> bool:
        whole, first = (
            mapdrop.drop(a, "b c h w -> b h w c", 0.1, **given, **more) for a in (x, x[:1])
        )
        return bool((whole[:1] == first).all())

    assert alone()
    assert not alone(scale="batch")


def test_torchvision_counts_in_float16() -> None:
    torch = framework("torch")
    made = cases.defined(TORCHVISION_BLOCK, 0, 0.1)
    x = torch.ones(1, 8, 96, 96, dtype=torch.float16)
    assert (made.old(x) == 0).all()
    kept = made.new(x) != 0
    assert 0.85 < kept.float().mean() < 0.95


def test_old_timm_in_bfloat16() -> None:
    """There q = 0.00625 is 2/256, for all that is added and compared is a multiple of 1/256."""
    ((name, dtype, p, figure, new),) = [
        row for row in page.table("The rate in 16 bits") if row[0].startswith(OLD_TIMM_BLOCK)
    ]
    assert (name, dtype, p) == (f"{OLD_TIMM_BLOCK}, 14x14, side 7", "bfloat16", new)
    x = np.ones((16, 64, 14, 14), np.float32)
    made = cases.turned(OLD_TIMM_BLOCK, 0, float(p), dtype)
    old, ours = (np.stack([drop(x) != 0 for _ in range(8)]) for drop in (made.old, made.new))
    check_blocks(old, "valid", 2 / 256)
    with pytest.raises(AssertionError, match=" of 8192 is "):
        check_rate(old, "valid", old_rate((14, 14), float(p)))
    assert f"{chances((14, 14), 'valid', 2 / 256).mean():.4f}" == figure
    check_blocks(ours, "valid", new_rate((14, 14), "valid", float(new)))


def test_even_sides_are_allowed() -> None:
    x = np.ones((2, 3, 9, 9), np.float32)
    y = mapdrop.drop(x, "b c h w -> b h w c", 0.3, block={"h": 4, "w": 4}, seed=0)
    assert 0 < np.count_nonzero(y) < y.size


# --- Twins.


def ours(p: float = 0.1, **changed: Any) -> Drop:
    """What torchvision does at its true rate, or with something changed."""
    numbers = iter(range(10**6))
    given = {"block": {"h": SIDE, "w": SIDE}, "scale": "batch", **changed}
    pattern = given.pop("pattern", "b c h w -> b h w c")

    def drop(x: Array) -> Array:
        return mapdrop.drop(x, pattern, p, seed=next(numbers), **given)

    return drop


WRONG: dict[str, tuple[Callable[[], Drop], str]] = {
    "identity": (lambda: lambda x: x, "is 0, not"),
    "zeros": (lambda: np.zeros_like, "is 1, not"),
    "the expected scale": (lambda: ours(scale="expected"), "not x"),
    "no scale": (lambda: ours(scale=None), "not x"),
    "a rate off by a tenth": (lambda: ours(0.11), " of 12288 is "),
    "centres up to the edge": (lambda: ours(region="full"), " of 12288 is "),
    "smaller blocks": (lambda: ours(block={"h": 5, "w": 5}), " of 12288 is "),
    "single values": (lambda: ours(block={}), " of 12288 is "),
    "one mask for all maps": (lambda: ours(pattern="b c h w -> b h w"), " of 12288 is "),
    "one mask for all samples": (lambda: ours(pattern="b c h w -> c h w"), " of 12288 is "),
}


def check_ours(drop: Drop) -> None:
    check_blocks(observed(drop, (14, 14), False), "valid", new_rate((14, 14), "valid", 0.1))


def test_what_is_right_passes() -> None:
    check_ours(ours())


@pytest.mark.parametrize(("make", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_fails_twin(make: Callable[[], Drop], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_ours(make())


def test_values_that_fall_alone_twin() -> None:
    """The rate at each place is right, but they do not fall in blocks."""
    q = new_rate((14, 14), "valid", 0.1)
    rates = chances((14, 14), "valid", q).reshape(14, 14)
    kept = np.random.default_rng(0).random((DRAWS, 16, 64, 14, 14)) >= rates
    check_rate(kept, "valid", q)
    with pytest.raises(AssertionError, match="not only whole blocks"):
        check_blocks(kept, "valid", q)


def test_coupled_maps_twin() -> None:
    observed(ours(pattern="b c h w -> b h w"), (14, 14), coupled=True)
    with pytest.raises(AssertionError, match="the maps of a sample differ"):
        observed(ours(), (14, 14), coupled=True)

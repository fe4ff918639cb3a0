"""The numbers of `mapdrop explain` against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

import mapdrop
from mapdrop import PatternError
from mapdrop.tools.explain.numbers import numbers
from mapdrop.tools.explain.request import Request
from mapdrop.tools.explain.sentences import fall_together, tied
from mapdrop.tools.explain.structure import Structure, structure
from tests.tools.explain.requests import request

IMAGES = (4, 5, 6, 8)


@pytest.mark.parametrize(
    ("given", "shape", "mask", "coins", "per_coin"),
    [
        (request("b h w c -> b c", 0.5), IMAGES, "[4, 1, 1, 8]", (4, 8), 30),
        (request("b h w c -> c b", 0.5), IMAGES, "[4, 1, 1, 8]", (8, 4), 30),
        (request("b h w c -> b h w c", 0.5), IMAGES, "[4, 5, 6, 8]", (4, 5, 6, 8), 1),
        (request("b h w c -> b h w", 0.5), IMAGES, "[4, 5, 6, 1]", (4, 5, 6), 8),
        (request("b ... -> b", 0.5), IMAGES, "[4, 1, 1, 1]", (4,), 240),
        (request("b h w c ->", 0.5), IMAGES, "[1, 1, 1, 1]", (), 960),
        (request("(m 2) h w c -> m c", 0.5), IMAGES, "[(2 1), 1, 1, 8]", (2, 8), 60),
        (
            request("b h w (g k) -> b g", 0.5, sizes={"k": 4}),
            IMAGES,
            "[4, 1, 1, (2 1)]",
            (4, 2),
            120,
        ),
        (request("b t c -> b c", 0.5), (3, 7, 2), "[3, 1, 2]", (3, 2), 7),
    ],
    ids=lambda value: value.pattern if isinstance(value, Request) else "",
)
def test_coins_and_mask_shape(
    given: Request, shape: tuple[int, ...], mask: str, coins: tuple[int, ...], per_coin: int
) -> None:
    counts = numbers(given, shape)
    assert counts.mask_shape == mask
    assert counts.coins == coins
    assert counts.count == np.prod(coins, dtype=int)
    assert counts.per_coin == per_coin


@pytest.mark.parametrize(
    ("given", "expected", "scale"),
    [
        (request("b h w c -> b c", 0.3, seed=5), 0.3, 1 / 0.7),
        # round(5.6) of 8 survive.
        (request("b h w c -> b c", 0.3, seed=5, exact="c"), 0.25, 8 / 6),
        (request("b h w c -> b c", 0.3, seed=5, balance="b"), 0.3, 1 / 0.7),
        (request("b h w c -> b h w c", 0.3, seed=5, block={"h": 3, "w": 3}), 0.3, 1 / 0.7),
        (request("b h w c -> b c", 0.0), 0.0, 1.0),
        (request("b h w c -> b c", 1.0), 1.0, 0.0),
    ],
)
def test_expected_and_actual_drop(given: Request, expected: float, scale: float) -> None:
    counts = numbers(given, IMAGES)
    assert counts.expected == pytest.approx(expected)
    assert counts.scale == pytest.approx(scale)
    # What the library really drops, counted value by value.
    dropped = mapdrop.drop(
        np.ones(IMAGES),
        given.pattern,
        given.p,
        seed=given.seed,
        exact=given.spec.exact,
        balance=given.spec.balance,
        block=dict(given.spec.block),
    )
    assert counts.actual == pytest.approx((dropped == 0).mean())
    assert counts.fallen * counts.per_coin == (dropped == 0).sum()


def test_the_seed_decides_what_falls() -> None:
    fallen = {numbers(request("b h w c -> b h w c", 0.5, seed), IMAGES).fallen for seed in range(8)}
    assert len(fallen) > 3


def test_the_call_that_is_shown_is_the_mask_that_is_counted() -> None:
    given = request("b h w (g k) -> b g", 0.5, 3, balance="b", sizes={"k": 2})
    shown = given.call.removesuffix(")") + ", seed=3)"
    dropped = eval(shown, {"mapdrop": mapdrop, "x": np.ones(IMAGES)})
    assert (dropped == 0).mean() == numbers(given, IMAGES).actual
    block = request("b h w c -> b h w c", 0.25, block={"h": 3, "w": 2})
    assert block.call == "mapdrop.drop(x, 'b h w c -> b h w c', 0.25, block={'h': 3, 'w': 2})"


@pytest.mark.parametrize("shape", [(0, 5, 6, 8), (100_000, 100_000, 1, 1)])
def test_what_cannot_be_counted_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"no values|too many"):
        numbers(request("... -> ...", 0.5), shape)


def test_a_pattern_that_does_not_fit_is_refused() -> None:
    with pytest.raises(PatternError, match="names 4 axes, the array has 2"):
        numbers(request("b h w c -> b c", 0.5), (2, 3))


@pytest.mark.parametrize(
    ("given", "law"),
    [
        (request("b h w c -> b c", 0.5), Structure((True, False, False, True), (1, 1, 1, 1))),
        (request("b h w c -> c b", 0.5), Structure((True, False, False, True), (1, 1, 1, 1))),
        (request("(m 2) h w c -> m c", 0.5), Structure((None, False, False, True), (1,) * 4)),
        (request("(m 1) h w c -> m c", 0.5), Structure((True, False, False, True), (1,) * 4)),
        (request("(m 4) h w c -> m c", 0.5), Structure((False, False, False, True), (1,) * 4)),
        (
            request("b h w (g 2) -> b g", 0.5, exact="g"),
            Structure((True, False, False, None), (1,) * 4, "exact"),
        ),
        (
            request("b h w c -> b h w c", 0.5, block={"h": 3, "w": 2}),
            Structure((True, True, True, True), (1, 3, 2, 1)),
        ),
        (
            request("b h w (g 2) -> b h w g", 0.5, block={"g": 3}),
            Structure((True, True, True, None), (1, 1, 1, 3)),
        ),
    ],
    ids=lambda value: value.call if isinstance(value, Request) else "",
)
def test_structure(given: Request, law: Structure) -> None:
    assert structure(given.bind(IMAGES)) == law


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (request("b h w c -> b c", 0.5), "Values that differ only along h, w share a coin"),
        (request("(m 2) h w c -> m c", 0.5), "along the 2 of (m 2), h, w share a coin"),
        (request("b ... -> b", 0.5), "along ... share a coin"),
        (request("... -> ...", 0.5), "Every value has a coin of its own."),
        (request("b h w c ->", 0.5), "One coin decides for the whole array."),
        (request("b h w c -> b c", 0.3, exact="c"), "Of each 8 coins along c exactly 6 survive."),
        (request("b h w c -> b c", 0.3, balance="b"), "Of each 4 coins along b 2.8 survive"),
        (
            request("b h w c -> b h w c", 0.3, block={"h": 7, "w": 3}),
            "Coins fall in blocks of 5 x 3 along h, w.",  # Blocks are cut to the map.
        ),
    ],
    ids=lambda value: value.call if isinstance(value, Request) else "",
)
def test_sentences(given: Request, sentence: str) -> None:
    counts = numbers(given, IMAGES)
    parsed = mapdrop.Pattern.parse(given.pattern)
    assert sentence in f"{fall_together(parsed)} {tied(given, counts)}"

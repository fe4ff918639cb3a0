"""Patterns against shapes of which not every size is known."""

from __future__ import annotations

import warnings

import pytest

from mapdrop import PatternError
from mapdrop.spec.mask_spec import Sizes, mask_spec
from mapdrop.spec.symbolic import bind_symbolic


@pytest.mark.parametrize(
    ("pattern", "shape", "sizes", "least", "coins"),
    [
        ("b h w c -> b c", (None, None, 5, 8), (), (1, 1, 5, 8), (1, 8)),
        ("b h w c -> b c", (2, 4, 5, 8), (), (2, 4, 5, 8), (2, 8)),
        ("(m n) (g 4) -> m g", (None, None), (("n", 3),), (3, 4), (1, 1)),
        ("(m n) 7 -> m n", (None, None), (("m", 2), ("n", 3)), (6, 7), (2, 3)),
        ("b ... (g 4) -> g", (None, 3, None), (), (1, 3, 4), (1,)),
        ("b ... c -> ... c", (None, None, 3, None), (), (1, 1, 3, 1), (1, 3, 1)),
    ],
    ids=str,
)
def test_unknown_sizes_are_the_least_that_fit(
    pattern: str,
    shape: tuple[int | None, ...],
    sizes: Sizes,
    least: tuple[int, ...],
    coins: tuple[int, ...],
) -> None:
    made = bind_symbolic(mask_spec(pattern, 0.5, sizes=sizes), shape)
    assert (made.binding.shape, made.binding.coins) == (least, coins)


def test_sizes_that_are_not_known_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bind_symbolic(mask_spec("b c -> b c", 0.3, exact="c"), (None, 2))


@pytest.mark.parametrize(
    ("pattern", "shape", "sizes", "message"),
    [
        ("b c -> b c", (None, 4, 4), (), "names 2 axes, the array has 3"),
        ("b c d -> b c", (None, 4), (), "names 3 axes, the array has 2"),
        ("b (g k) -> b g", (None, 8), (("k", 3),), "an axis of 8 does not split"),
        ("(m n) c -> m", (None, 8), (), "are open"),
        ("(m n) c -> m", (None, 8), (("n", 0),), "n=0 is not a size"),
        ("(m n) c -> m", (None, 8), (("k", 2),), "does not name"),
    ],
    ids=str,
)
def test_what_cannot_fit_is_refused_and_the_shape_is_shown_as_it_came(
    pattern: str, shape: tuple[int | None, ...], sizes: Sizes, message: str
) -> None:
    with pytest.raises(PatternError, match=message) as caught:
        bind_symbolic(mask_spec(pattern, 0.5, sizes=sizes), shape)
    assert f"shape: {shape}" in str(caught.value)

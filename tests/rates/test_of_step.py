"""Rates as functions of a step and of a layer's own rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mapdrop import rates

GIVEN: dict[str, tuple[Callable[[int, float], float], list[float]]] = {
    "up": (rates.linear(0, 1, 4), [0, 0.1, 0.2, 0.3, 0.4, 0.4]),
    "down": (rates.linear(1, 0, 2), [0.4, 0.2, 0, 0, 0, 0]),
    "between": (rates.linear(0.5, 2, 3), [0.2, 0.4, 0.6, 0.8, 0.8, 0.8]),
    "early": (rates.early(2), [0.4, 0.4, 0, 0, 0, 0]),
    "late": (rates.late(2), [0, 0, 0.4, 0.4, 0.4, 0.4]),
}


@pytest.mark.parametrize(("rate", "expected"), GIVEN.values(), ids=GIVEN)
def test_rates(rate: Callable[[int, float], float], expected: list[float]) -> None:
    assert [rate(step, 0.4) for step in range(6)] == pytest.approx(expected, rel=1e-15)
    assert rate(10**9, 0.4) == expected[-1]
    assert [rate(step, 0.2) for step in range(6)] == pytest.approx(
        [p / 2 for p in expected], rel=1e-15
    )


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "start": (lambda: rates.linear(-0.1, 1, 5), ValueError, "start is a share.*-0.1"),
    "stop": (lambda: rates.linear(0, float("nan"), 5), ValueError, "stop is a share.*nan"),
    "infinite": (lambda: rates.linear(0, float("inf"), 5), ValueError, "stop is a share.*inf"),
    "flag": (lambda: rates.linear(0, True, 5), ValueError, "stop is a share.*True"),
    "text": (lambda: rates.linear("0", 1, 5), ValueError, "start is a share.*'0'"),  # type: ignore[arg-type]
    "no steps": (lambda: rates.linear(0, 1, 0), ValueError, "steps is a number.*from 1 on, not 0"),
    "half steps": (lambda: rates.linear(0, 1, 2.5), TypeError, "whole number of steps, not 2.5"),  # type: ignore[arg-type]
    "until": (lambda: rates.early(0), ValueError, "until is a number"),
    "begin": (lambda: rates.late(-1), ValueError, "begin is a number.*-1"),
    "flag for steps": (lambda: rates.late(True), TypeError, "begin is a whole number.*True"),
}


@pytest.mark.parametrize(("make", "kind", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_rate(make: Callable[[], Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        make()

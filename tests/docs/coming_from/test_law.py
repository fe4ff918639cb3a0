"""The old and the new call of each entry: one rate, one scale, the same values share a coin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mapdrop
from tests import checks
from tests.docs.coming_from import cases, law
from tests.docs.coming_from.cases import CASES, Coins, named
from tests.docs.coming_from.law import Array, Drop, Law, check_law, check_rate, observe
from tests.integration.test_statistics import needed

BIAS = 0.015  # Of the rate; for one coin a call it is 0.2.


@pytest.mark.parametrize("which", ["old", "new"])
@pytest.mark.parametrize(("heading", "number"), named(Coins).values(), ids=named(Coins))
def test_law(heading: str, number: int, which: str) -> None:
    case = CASES[heading][number]
    assert isinstance(case, Coins)
    made = cases.turned(heading, number, case.p)
    check_law(getattr(made, which), case.law(), case.many, case.draws, case.few)


@pytest.mark.parametrize(("heading", "number"), named(Coins).values(), ids=named(Coins))
def test_there_are_enough_coins(heading: str, number: int) -> None:
    case = CASES[heading][number]
    assert isinstance(case, Coins)
    each = np.prod([case.many[axis] for axis in case.own], dtype=int)
    bias = BIAS if case.own else 0.2
    assert each * case.draws >= needed(case.p, bias)


# --- Twins: what each check is there to refuse. `right` passes, so the others fail for their flaw.

OURS = Law((0, 2), 0.3, 1 / 0.7)
MANY, FEW, CALLS = (256, 2, 1024), (4, 3, 6), 4
PATTERN = "b t c -> b c"


class Wrong:
    """Something like spatial dropout, with a fresh seed at each call."""

    def __init__(self, **changed: Any) -> None:
        self.changed, self.seed = changed, 0

    def __call__(self, x: Array) -> Array:
        self.seed += 1
        given = {"pattern": PATTERN, "p": OURS.p, "seed": self.seed, **self.changed}
        return mapdrop.drop(x, **given)


class Repeated(Wrong):
    """The same mask in each pair of calls."""

    def __call__(self, x: Array) -> Array:
        self.changed["seed"] = self.seed // 2
        return super().__call__(x)


class Times(Wrong):
    """Scaled by something else."""

    def __init__(self, scale: float, **changed: Any) -> None:
        super().__init__(scale=None, **changed)
        self.scale = np.float32(scale)

    def __call__(self, x: Array) -> Array:
        return np.asarray(super().__call__(x) * self.scale)


WRONG: dict[str, tuple[Drop, str]] = {
    "identity": (lambda x: x, "not x"),
    "zeros": (np.zeros_like, "is 1, not 0.3"),
    "identity, scaled": (lambda x: x * np.float32(OURS.scale), "is 0, not 0.3"),
    "unscaled": (Wrong(scale=None), "not x"),
    "scaled by 1 / p": (Times(1 / 0.3), "not x"),
    "the rate for p": (Wrong(p=0.7), "not x"),
    "a rate off by BIAS": (Times(OURS.scale, p=0.3 * (1 + BIAS)), "not 0.3"),
    "a coin for each value": (Wrong(pattern="b t c -> b t c"), "share a coin"),
    "a coin for each sample": (Wrong(pattern="b t c -> b"), r"not 0\.58"),
    "a coin for each map of the batch": (Wrong(pattern="b t c -> c"), "not 0.3"),
    "pairs of samples": (Wrong(pattern="(m 2) t c -> m c"), "not 0.58"),
    "pairs of maps far apart": (Wrong(pattern="b t (k g) -> b g", k=2), "other values share"),
    "one mask": (Wrong(seed=7), "not 0.58"),
    "each mask twice": (Repeated(), "not 0.58"),
    "other dtype": (lambda x: x.astype(np.float64), "the dtype became float64"),
    "other shape": (lambda x: x[:1], "the shape became"),
}


def check(drop: Drop) -> None:
    check_law(drop, OURS, MANY, CALLS, FEW)


def test_what_is_right_passes() -> None:
    check(Wrong())


@pytest.mark.parametrize(("drop", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_fails_twin(drop: Drop, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check(drop)


def test_exactly_so_many_survivors_twin() -> None:
    """Of two maps one falls: the rate of each is right, but they are not independent."""
    kept = observe(Wrong(exact="c", p=0.5), checks.inputs((1 << 10, 1, 2)), 2.0, 4)
    assert kept.mean() == 0.5
    with pytest.raises(AssertionError, match="is 0, not"):
        check_rate(kept, Law((0, 2), 0.5, 2.0))


def test_scale_of_the_batch_twin() -> None:
    x = checks.inputs((8, 3, 6))
    observe(Wrong(scale="batch"), x, None, 4)
    with pytest.raises(AssertionError, match="not x"):
        observe(Wrong(scale="expected"), x, None, 4)


def test_sharing_is_told_apart() -> None:
    assert law.partition((2, 2, 2), (0, 2)) == [0, 1, 0, 1, 4, 5, 4, 5]
    assert law.partition((2, 2), ()) == [0, 0, 0, 0]

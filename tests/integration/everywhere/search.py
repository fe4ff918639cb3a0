"""The body: draw cases, run them one way, and compare each with the specification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from numpy.typing import NDArray

from tests.integration.everywhere.draws import Draw, check, draws, expected
from tests.integration.everywhere.frameworks import Result, Run

EACH = 5  # Seeds, steps and arrays for each pattern, shape, rate, dtype and options.
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)


def search(run: Run, cases: int, phases: Sequence[Phase] = PHASES, **limits: Any) -> int:
    """Check so many different cases or some more, and count them. Raises AssertionError."""
    seen: set[str] = set()

    def body(several: list[Draw]) -> None:
        for draw in several:
            if repr(draw) not in seen:
                check(draw, *run(draw))
                seen.add(repr(draw))

    turn = 0
    while (left := cases - len(seen)) > 0:  # Hypothesis draws many a case twice.
        options = settings(
            # Of a round the first few are the simplest there are, in every round.
            max_examples=max(5, -(-left // EACH)),
            phases=phases,
            derandomize=False,  # Because it is seeded here.
            suppress_health_check=list(HealthCheck),
        )
        seed(turn)(options(given(draws(EACH, **limits))(body)))()
        turn += 1
    return len(seen)


# --- Results that are wrong on purpose.


def _unscaled(draw: Draw, x: NDArray[Any], came: NDArray[Any]) -> NDArray[Any]:
    return np.where(came == 0, came, x)


def _one_coin(draw: Draw, x: NDArray[Any], came: NDArray[Any]) -> NDArray[Any]:
    return expected(draw, x, flipped=0) if x.size else came


WRONG: dict[str, Any] = {
    "identity": lambda draw, x, came: x,
    "zeros": lambda draw, x, came: np.zeros_like(x),
    "unscaled": _unscaled,
    "one coin": _one_coin,
    "negative zeros": lambda draw, x, came: np.where(came == 0, -np.abs(came), came),
    "another dtype": lambda draw, x, came: came.astype(np.float32),
}


def broken(run: Run, wrong: Any) -> Run:
    """A way that gives a wrong result, from what comes."""

    def other(draw: Draw) -> Result:
        x, came = run(draw)
        return x, wrong(draw, x, came)

    return other

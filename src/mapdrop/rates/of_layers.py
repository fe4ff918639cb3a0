"""The rates of a model's layers at a step, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapdrop.rates.of_step import Rates
from mapdrop.spec.mask_spec import check_rate

_TRIED = (0, *[10**n for n in range(8)])  # Steps at which some rate should not be 0.


def check_rates(rate: Any) -> Rates:
    """Return a function of a step and a layer's own rate. Raises TypeError for anything else."""
    if not callable(rate):
        raise TypeError(
            f"rate is a function of a step and a layer's own rate, as mapdrop.rates has them, not "
            f"{rate!r}"
        )
    found: Rates = rate
    return found


def rates_at(rate: Rates, step: int, own: Mapping[str, float]) -> dict[str, float]:
    """Return the rates at a step, by the names of their layers.

    Args:
        own: the layers' own rates.

    Raises:
        TypeError, ValueError: for a rate that is none, with the name of its layer.
    """
    return {
        name: check_rate(rate(step, p), f"rate({step}, {p}), for layer {name!r},")
        for name, p in own.items()
    }


def check_any(rate: Rates, own: Mapping[str, float]) -> None:
    """Raise ValueError if all rates are 0, now and at each of several steps."""
    if any(own.values()) or any(p for n in _TRIED for p in rates_at(rate, n, own).values()):
        return
    raise ValueError(
        "the layers' own rates are 0, and so is each rate that follows from them: make "
        "the layers with the rate that the schedule is to reach"
    )

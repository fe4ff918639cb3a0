"""Rates as functions of a step, from 0 on, and of a layer's own rate.

Each function here returns one. Any other function of these two may take its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Rates = Callable[[int, float], float]


def linear(start: float, stop: float, steps: int) -> Rates:
    """Return rates that go from `start` to `stop` times a layer's own in so many steps, and stay.

    With 0 and 1 this is the ramp of DropBlock (Ghiasi et al., NeurIPS 2018, arXiv 1810.12890) and
    of drop path; with 1 and 0 the early dropout of Liu et al. ("Dropout Reduces Underfitting",
    ICML 2023).

    Args:
        start: the share of the layer's own rate at step 0, from 0 on.
        stop: the share from step `steps` on, from 0 on.
        steps: how many steps it takes, from 1 on.

    Returns:
        A function of the step, from 0 on, and of a layer's own rate, which returns the rate.

    Raises:
        TypeError: where steps is no whole number.
        ValueError: where start, stop or steps is out of its range.

    Examples:
        >>> ramp = mapdrop.rates.linear(0, 1, steps=1000)
        >>> [ramp(step, 0.2) for step in (0, 500, 1000, 5000)]
        [0.0, 0.1, 0.2, 0.2]
    """
    first, last = _share("start", start), _share("stop", stop)
    number = _steps("steps", steps)

    def rates(step: int, p: float) -> float:
        done = min(step / number, 1)
        return p * (first * (1 - done) + last * done)

    return rates


def early(until: int) -> Rates:
    """Return rates that are a layer's own before a step, and 0 from there on.

    Dropout at the beginning helps a model that underfits (Liu et al., ICML 2023).

    Args:
        until: the first step without dropout, from 1 on.

    Returns:
        A function of the step, from 0 on, and of a layer's own rate, which returns the rate.

    Raises:
        TypeError: where until is no whole number.
        ValueError: where until is below 1.

    Examples:
        >>> [mapdrop.rates.early(until=50)(step, 0.1) for step in (0, 49, 50)]
        [0.1, 0.1, 0.0]
    """
    number = _steps("until", until)
    return lambda step, p: p if step < number else 0.0


def late(begin: int) -> Rates:
    """Return rates that are 0 before a step, and a layer's own from there on.

    Args:
        begin: the first step with dropout, from 1 on.

    Returns:
        A function of the step, from 0 on, and of a layer's own rate, which returns the rate.

    Raises:
        TypeError: where begin is no whole number.
        ValueError: where begin is below 1.

    Examples:
        >>> [mapdrop.rates.late(begin=50)(step, 0.1) for step in (0, 49, 50)]
        [0.0, 0.0, 0.1]
    """
    number = _steps("begin", begin)
    return lambda step, p: p if step >= number else 0.0


def _share(name: str, share: Any) -> float:
    number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if not number or not 0 <= share < math.inf:
        raise ValueError(f"{name} is a share of a layer's own rate, from 0 on, not {share!r}")
    return float(share)


def _steps(name: str, steps: Any) -> int:
    if isinstance(steps, bool) or not hasattr(steps, "__index__"):
        raise TypeError(f"{name} is a whole number of steps, not {steps!r}")
    if steps < 1:
        raise ValueError(f"{name} is a number of steps, from 1 on, not {steps}")
    return int(steps)

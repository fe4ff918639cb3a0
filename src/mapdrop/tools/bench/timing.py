"""Interleaved timing: A B A B, because a shared machine's speed drifts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of one function's calls, round by round."""

    seconds: tuple[float, ...]
    median: float
    low: float  # 10th percentile
    high: float  # 90th percentile


def ratio(ours: Times, peer: Times) -> float:
    """The median over the rounds of the peer's time through ours.

    Both halves of a round meet the same machine: where its speed drifts from round to round, the
    ratio of two medians compares different minutes.
    """
    pairs = zip(peer.seconds, ours.seconds, strict=True)
    return statistics.median(theirs / own for theirs, own in pairs)


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    rounds: int,
    calls: int = 1,
    warmup: int = 2,
    wait: Callable[[], object] = lambda: None,
) -> dict[str, Times]:
    """Times of each function, one after the other in every round; `calls` are timed together.

    `wait` returns when all that was called is done, for a device that works on by itself. Every
    second round runs backwards, because the first to run finds other caches than the last.
    """
    for function in functions.values():
        for _ in range(warmup):
            function()
    wait()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds):
        order = list(functions.items())
        for name, function in order if number % 2 == 0 else reversed(order):
            start = time.perf_counter()
            for _ in range(calls):
                function()
            wait()
            seconds[name].append((time.perf_counter() - start) / calls)
    return {name: _summary(values) for name, values in seconds.items()}


def _summary(values: list[float]) -> Times:
    tenths = statistics.quantiles(values, n=10) if len(values) > 1 else [values[0]] * 9
    return Times(tuple(values), statistics.median(values), tenths[0], tenths[-1])

"""Interleaved timing: A B A B, because a shared machine's speed drifts."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Times:
    """Seconds of one function's calls, round by round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """What a call usually takes."""
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        """What a call takes undisturbed: other work on the machine only ever adds to it."""
        return min(self.seconds)

    @property
    def milliseconds(self) -> dict[str, float]:
        """The median with the 10th and the 90th percentile: a row's record of the times."""
        tenths = [self.median] * 2
        if len(self.seconds) > 1:
            tenths = statistics.quantiles(self.seconds, n=10)
        return {"median": self.median * 1e3, "p10": tenths[0] * 1e3, "p90": tenths[-1] * 1e3}


def ratio(ours: Times, peer: Times) -> float:
    """Return the median over the rounds of the peer's time through ours.

    Both halves of a round meet the same machine: where its speed drifts from round to round, the
    ratio of two medians compares different minutes.
    """
    pairs = zip(peer.seconds, ours.seconds, strict=True)
    return statistics.median(theirs / own for theirs, own in pairs)


def interleaved(
    functions: Mapping[Name, Callable[[], object]],
    rounds: int,
    *,
    calls: int = 1,
    warmup: int = 2,
    limit: float = math.inf,
    wait: Callable[[], object] = _nothing,
    on_call: Callable[[], object] = _nothing,
) -> dict[Name, Times]:
    """Time each function, one after the other in every round.

    Every second round runs backwards, because the first to run finds other caches than the last.

    Args:
        functions: what is timed, by name.
        rounds: how many rounds, at most.
        calls: how many calls are timed together in a round.
        warmup: calls of each function before the first round.
        limit: seconds after which no other round begins; there is always one.
        wait: returns when all that was called is done, for a device that works on by itself.
        on_call: is called after every call or group of calls, outside the time.
    """
    for function in functions.values():
        for _ in range(warmup):
            function()
            on_call()
    wait()
    seconds: dict[Name, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + limit
    for number in range(rounds):
        if number and time.perf_counter() >= end:
            break
        order = list(functions.items())
        for name, function in order if number % 2 == 0 else reversed(order):
            start = time.perf_counter()
            for _ in range(calls):
                function()
            wait()
            seconds[name].append((time.perf_counter() - start) / calls)
            on_call()
    return {name: Times(tuple(values)) for name, values in seconds.items()}

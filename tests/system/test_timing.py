"""Times by a clock that is ours are exact."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from mapdrop.system.timing import Times, interleaved, ratio


class Clock:
    """A clock that stands still unless a function takes its time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.called: list[str] = []

    def taking(self, name: str, *seconds: float) -> Callable[[], None]:
        """A function whose calls take these seconds, the last ever after."""
        left = list(seconds)

        def run() -> None:
            self.called.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: made.now)
    return made


def test_every_second_round_runs_backwards(clock: Clock) -> None:
    functions = {name: clock.taking(name, 1.0) for name in "abc"}
    times = interleaved(functions, 2, warmup=1)
    assert "".join(clock.called) == "abc" + "abc" + "cba"
    assert times == {name: Times((1.0, 1.0)) for name in "abc"}


def test_warm_ups_are_not_counted(clock: Clock) -> None:
    times = interleaved({"a": clock.taking("a", 9.0, 8.0, 1.0, 2.0)}, 2, warmup=2)
    assert times["a"].seconds == (1.0, 2.0)


def test_calls_are_timed_together(clock: Clock) -> None:
    times = interleaved({"a": clock.taking("a", 1.0, 3.0)}, 1, calls=2, warmup=0)
    assert times["a"].seconds == (2.0,)


def test_after_the_limit_no_round_begins_but_there_is_one(clock: Clock) -> None:
    times = interleaved({"a": clock.taking("a", 1.0)}, 100, warmup=1, limit=3.0)
    assert len(times["a"].seconds) == 3
    times = interleaved({"a": clock.taking("a", 1.0)}, 100, limit=0.0)
    assert len(times["a"].seconds) == 1


def test_what_a_device_does_by_itself_is_waited_for(clock: Clock) -> None:
    queue: list[Callable[[], None]] = []

    def wait() -> None:
        while queue:
            queue.pop()()

    started = clock.taking("a", 5.0)
    times = interleaved({"a": lambda: queue.append(started)}, 2, wait=wait)
    assert times["a"].seconds == (5.0, 5.0)


def test_what_is_called_between_is_not_timed(clock: Clock) -> None:
    between = clock.taking("-", 100.0)
    times = interleaved({"a": clock.taking("a", 1.0)}, 2, warmup=1, on_call=between)
    assert times["a"].seconds == (1.0, 1.0)
    assert "".join(clock.called) == "a-a-a-"


def test_a_ratio_compares_within_rounds() -> None:
    ours, theirs = Times((1.0, 10.0, 100.0)), Times((2.0, 20.0, 100.0))
    assert ratio(ours, theirs) == 2.0
    assert theirs.median / ours.median == 2.0
    drifting = Times((1.0, 10.0, 100.0)), Times((300.0, 20.0, 2.0))
    assert ratio(*drifting) == 2.0


def test_statistics_of_a_single_round_are_its_time() -> None:
    times = Times((0.002,))
    assert times.milliseconds == {"median": 2.0, "p10": 2.0, "p90": 2.0}
    several = Times(tuple(k / 1000 for k in range(1, 20)))
    assert several.least == 0.001
    assert several.milliseconds == pytest.approx({"median": 10.0, "p10": 2.0, "p90": 18.0})

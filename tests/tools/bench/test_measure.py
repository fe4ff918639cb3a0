"""Rows from a clock that is ours: ratios, limits and counts are exact."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from mapdrop.tools.adapters.adapter import Work
from mapdrop.tools.bench.case import BOTH, FORWARD, PLAIN, Case
from mapdrop.tools.bench.comparison import Comparison
from mapdrop.tools.bench.measure import ROUNDS, measure
from mapdrop.tools.bench.shapes import find

CASE = Case("element", find("tcn"), BOTH, PLAIN)


class Clock:
    """Stands still unless a work takes its time; every work of a round can be slowed."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, 0

    def taking(self, milliseconds: float) -> Callable[[], None]:
        def run() -> None:
            self.calls += 1
            # Slower and slower: a drifting machine. What runs side by side drifts alike.
            self.now += milliseconds * 1e-3 * (1 + self.now)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: made.now)
    return made


def works(clock: Clock, ours: float = 2.0, limit: float = 1.0) -> Comparison:
    return Comparison(
        Work(clock.taking(ours), lambda: 300),
        {"theirs": Work(clock.taking(8.0), lambda: 400), "another": Work(clock.taking(1.0))},
        ("a copy", Work(clock.taking(limit))),
    )


def test_a_row_says_who_is_how_many_times_faster(clock: Clock) -> None:
    row = measure(CASE, works(clock), 0.2)
    assert row["ratios"] == pytest.approx({"theirs": 0.25, "another": 2.0, "a copy": 2.0}, rel=0.02)
    assert row["bytes"] == {"mapdrop": 300, "theirs": 400, "another": None}
    assert (row["peers"], row["limit"]) == (["theirs", "another"], "a copy")
    assert row["size"] == [16, 600, 80]
    spread = row["milliseconds"]["mapdrop"]
    assert spread["p10"] < spread["median"] < spread["p90"]


def test_what_arithmetic_allows_is_computed(clock: Clock) -> None:
    some = works(clock)
    row = measure(CASE, Comparison(some.ours, some.peers, ("the arithmetic", "theirs", 5.0)), 0.2)
    # 8 ms / 5 is 1.6, and ours takes 2.
    assert row["ratios"]["the arithmetic"] == pytest.approx(2 / 1.6, rel=0.02)
    assert "the arithmetic" not in row["milliseconds"]


def test_what_a_device_does_by_itself_is_waited_for(clock: Clock) -> None:
    queue: list[Callable[[], None]] = []

    def started(milliseconds: float) -> Work:
        return Work(lambda: queue.append(clock.taking(milliseconds)))

    def wait() -> None:
        while queue:
            queue.pop()()

    some = Comparison(started(4.0), {"theirs": started(8.0)}, ("a copy", started(2.0)), wait)
    row = measure(CASE, some, 0.2)
    assert row["ratios"] == pytest.approx({"theirs": 0.5, "a copy": 2.0}, rel=0.02)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, ROUNDS[0]), (0.13, 10), (100.0, ROUNDS[1])])
def test_rounds_fill_the_time_within_bounds(clock: Clock, seconds: float, rounds: int) -> None:
    row = measure(CASE, works(clock), seconds)
    assert row["rounds"] == rounds
    assert row["calls"] == 1


def test_short_works_are_timed_several_at_once(clock: Clock) -> None:
    short = Comparison(
        Work(clock.taking(0.01)), {"theirs": Work(clock.taking(0.02))}, ("a", "theirs", 2.0)
    )
    row = measure(Case("element", find("1000-values"), FORWARD, PLAIN), short, 0.05)
    assert 60 < row["calls"] < 70
    assert row["milliseconds"]["mapdrop"]["median"] == pytest.approx(0.01, rel=0.1)

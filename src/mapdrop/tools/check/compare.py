"""One way against the specification: what it was asked for, what came, and how long it took."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mapdrop.system.timing import interleaved
from mapdrop.tools.check.bits import Bits, canonical, to_floats
from mapdrop.tools.check.cases import MASKS, Case
from mapdrop.tools.check.rows import DIFFERS, SAME, Row
from mapdrop.tools.check.ways.way import Way

ROUNDS, ENOUGH = 15, 0.5  # Of timing; after so many seconds it ends with fewer.


def compare(way: Way, cases: Sequence[Case], timed: Case, quick: bool) -> Row:
    """The way's row, but for its framework; `timed` is one of the cases."""
    asked = [case for case in cases if way.takes(case, quick)]
    run = way.together([way.step(case) for case in asked])
    results = [way.bits(y) for y in run([way.given(case) for case in asked])]
    faults = {
        case.name: fault
        for case, came in zip(asked, results, strict=True)
        if (fault := difference(case, came))
    }
    ms, own_ms = times(way, timed)
    return Row(
        framework="",
        device=way.device,
        device_name=way.device_name,
        mode=way.mode,
        status=DIFFERS if faults else SAME,
        vectors=_count([case for case in asked if case.part == MASKS], faults),
        values=_count([case for case in asked if case.part != MASKS], faults),
        differs=faults,
        digests=digests(asked, results),
        ms=ms,
        own_ms=own_ms,
        own=way.own_name,
    )


def difference(case: Case, came: Bits) -> str:
    """How the result is not what was expected, in words; empty where it is, bit for bit."""
    if came.shape != case.expected.shape:
        return f"the shape is {came.shape}, not {case.expected.shape}"
    if came.dtype != case.expected.dtype:
        return f"values have {8 * came.itemsize} bits, not {8 * case.expected.itemsize}"
    wrong = np.argwhere(canonical(came, case.dtype) != canonical(case.expected, case.dtype))
    if not len(wrong):
        return ""
    first = tuple(map(int, wrong[0]))
    is_, should = (to_floats(bits[first][None], case.dtype)[0] for bits in (came, case.expected))
    count = f"{len(wrong):,} of {came.size:,} values"
    return f"{count}; at {first} it is {is_:g} instead of {should:g}"


def digests(cases: Sequence[Case], results: Sequence[Bits]) -> dict[str, str]:
    """Of the results that every way has, for each part; to be compared between ways."""
    hashes: dict[str, Any] = {}
    for case, came in zip(cases, results, strict=True):
        if case.common:
            part = hashes.setdefault(case.part, hashlib.sha256())
            part.update(np.ascontiguousarray(canonical(came, case.dtype)).astype("<u4").tobytes())
    return {part: made.hexdigest()[:16] for part, made in hashes.items()}


def times(way: Way, timed: Case) -> tuple[float, float | None]:
    """Median milliseconds of a drop and of the framework's own dropout, in turns."""
    x = way.given(timed)
    steps = {"drop": way.step(timed), **({} if way.own is None else {"own": way.own})}
    calls = {name: _call(way, way.together([step]), x) for name, step in steps.items()}
    # The first call compiles.
    found = interleaved(calls, ROUNDS, warmup=1, limit=ENOUGH * len(calls))
    ms = {name: 1000 * times.median for name, times in found.items()}
    return ms["drop"], ms.get("own")


def _call(way: Way, run: Callable[[Sequence[Any]], Sequence[Any]], x: Any) -> Callable[[], Any]:
    return lambda: way.ready(run([x])[0])


def _count(cases: Sequence[Case], faults: dict[str, str]) -> tuple[int, int]:
    return sum(case.name not in faults for case in cases), len(cases)

"""Measure a case: times, ratios, memory, and how near to the limit."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from mapdrop.system.timing import interleaved, ratio
from mapdrop.tools.adapters.adapter import Work
from mapdrop.tools.bench.case import OURS, Case
from mapdrop.tools.bench.comparison import Comparison

Row = dict[str, Any]
ROUNDS = (5, 41)
"""At least, and at most."""
_CLOCK = 1e-3  # Shorter works are timed several at once.


def measure(case: Case, compared: Comparison, seconds: float) -> Row:
    """Return the row of a case, in about so many seconds.

    Its `ratios` are medians, over the rounds, of our time through each other's; of what may not be
    timed (an arithmetic limit) it is computed. `bytes` are null where they can't be known.
    """
    named = {OURS: compared.ours, **compared.peers}
    timed = dict(named)
    name, limit, *times_faster = compared.limit
    if isinstance(limit, Work):
        timed[name] = limit
    runs = {name: work.run for name, work in timed.items()}
    rounds, calls = _planned(runs, seconds, compared.wait)
    times = interleaved(runs, rounds, calls=calls, warmup=1, wait=compared.wait)
    ratios = {n: 1 / ratio(times[OURS], t) for n, t in times.items() if n != OURS}
    if not isinstance(limit, Work):
        ratios[name] = ratios[limit] * float(times_faster[0])
    return {
        "operation": case.operation,
        "shape": case.shape.name,
        "size": list(case.size),
        "layout": case.layout,
        "dtype": case.dtype,
        "device": case.device,
        "direction": case.direction,
        "rounds": rounds,
        "calls": calls,
        "milliseconds": {name: t.milliseconds for name, t in times.items()},
        "peers": list(compared.peers),
        "limit": name,
        "ratios": ratios,
        "bytes": {name: work.peak() if work.peak else None for name, work in named.items()},
    }


def _planned(
    runs: dict[str, Callable[[], object]], seconds: float, wait: Callable[[], object]
) -> tuple[int, int]:
    """Choose the rounds, and the calls of each work in a round, by timing a second call of each."""
    once = [t.median for t in interleaved(runs, rounds=1, warmup=1, wait=wait).values()]
    calls = max(1, round(_CLOCK / max(median(once), 1e-9)))
    least, most = ROUNDS
    return min(max(int(seconds / (sum(once) * calls)), least), most), calls

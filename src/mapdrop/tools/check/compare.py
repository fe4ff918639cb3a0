"""Compare what a framework drops with the specification, and time it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mapdrop.system.timing import interleaved
from mapdrop.tools.adapters.adapter import Adapter, Array, Drop
from mapdrop.tools.adapters.bits import Bits, canonical, to_floats
from mapdrop.tools.check.cases import MASKS, Case
from mapdrop.tools.check.rows import DIFFERS, SAME, Row

ROUNDS, ENOUGH = 15, 0.5  # Of timing; after so many seconds it ends with fewer.


def compare(adapter: Adapter, mode: str, cases: Sequence[Case], timed: Case, quick: bool) -> Row:
    """Return the row of a framework in one of its modes, but for its name.

    `timed` is one of the cases.
    """
    chosen = [case for case in cases if applies(case, adapter, mode, quick)]
    run = adapter.program(mode, [_drop(adapter, case) for case in chosen])
    results = [adapter.to_bits(y) for y in run([laid_out(case, adapter) for case in chosen])]
    faults = {
        case.name: fault
        for case, result in zip(chosen, results, strict=True)
        if (fault := difference(case, result))
    }
    ms, own_ms = times(adapter, mode, timed)
    return Row(
        framework="",
        device=adapter.device,
        device_name=adapter.device_name,
        mode=mode,
        status=DIFFERS if faults else SAME,
        vectors=_count([case for case in chosen if case.part == MASKS], faults),
        values=_count([case for case in chosen if case.part != MASKS], faults),
        differs=faults,
        digests=digests(chosen, results),
        ms=ms,
        own_ms=own_ms,
        own=adapter.dropout_name,
    )


def applies(case: Case, adapter: Adapter, mode: str, quick: bool) -> bool:
    """Return whether the framework can do the case, and is to do it in this mode."""
    if case.dtype not in adapter.dtypes or (mode in adapter.compiled and not case.common):
        return False
    if case.memory != "dense":
        return adapter.strided
    if adapter.layers and case.options.keys() & {"stream", "step"}:
        return False
    return case.common or not quick


def laid_out(case: Case, adapter: Adapter) -> Array:
    """Return the case's input as an array that lies in memory as the case has it."""
    if case.memory == "dense":
        return adapter.to_array(case.x, case.dtype)
    if case.memory == "sliced":
        return adapter.to_array(np.repeat(case.x, 2, axis=2), case.dtype)[:, :, ::2]
    last = np.ascontiguousarray(case.x.transpose(0, 2, 3, 1))
    return adapter.permute(adapter.to_array(last, case.dtype), (0, 3, 1, 2))


def _drop(adapter: Adapter, case: Case) -> Drop:
    return adapter.drop(case.pattern, case.p, case.options, case.dtype)


def difference(case: Case, came: Bits) -> str:
    """Describe how the result differs from the expected one; empty where no bit does."""
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
    """Return a digest for each part of the results that every framework has."""
    hashes: dict[str, Any] = {}
    for case, came in zip(cases, results, strict=True):
        if case.common:
            part = hashes.setdefault(case.part, hashlib.sha256())
            part.update(np.ascontiguousarray(canonical(came, case.dtype)).astype("<u4").tobytes())
    return {part: made.hexdigest()[:16] for part, made in hashes.items()}


def times(adapter: Adapter, mode: str, timed: Case) -> tuple[float, float | None]:
    """Return the median milliseconds of a drop and of the framework's own dropout."""
    x, own = laid_out(timed, adapter), adapter.own_dropout()
    drops = {"ours": _drop(adapter, timed), **({} if own is None else {"own": own})}
    calls = {name: _call(adapter, mode, drop, x) for name, drop in drops.items()}
    # The first call compiles.
    found = interleaved(calls, ROUNDS, warmup=1, limit=ENOUGH * len(calls))
    ms = {name: 1000 * taken.median for name, taken in found.items()}
    return ms["ours"], ms.get("own")


def _call(adapter: Adapter, mode: str, drop: Drop, x: Array) -> Callable[[], Array]:
    run = adapter.program(mode, [drop])
    return lambda: adapter.wait(run([x])[0])


def _count(cases: Sequence[Case], faults: dict[str, str]) -> tuple[int, int]:
    return sum(case.name not in faults for case in cases), len(cases)

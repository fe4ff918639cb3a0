"""NumPy against what one writes by hand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

import mapdrop
from mapdrop.tools.bench.case import FORWARD, Case, Work, Works
from mapdrop.tools.bench.ways import elsewhere


def cases() -> Iterator[Case]:
    """Forward alone: NumPy has no gradients."""
    return elsewhere.cases(("element", "spatial", "path"), (FORWARD,))


def works(case: Case) -> Works:
    """Ours, numpy.where with a Generator's coins, and a copy."""
    x = np.random.default_rng(0).standard_normal(case.size, dtype=np.float32)
    rng, p, scale = np.random.default_rng(1), case.law.p, np.float32(1 / (1 - case.law.p))
    ones = (1,) * len(case.shape.places)
    coins = {
        "element": case.size,
        "spatial": (case.shape.batch, *ones, case.shape.maps),
        "path": (case.shape.batch, *ones, 1),
    }[case.operation]
    old = np.empty_like(x)
    return Works(
        _work(lambda: mapdrop.drop(x, case.law.last, p)),
        {"numpy.where": _work(lambda: np.where(rng.random(coins) >= p, x * scale, 0))},
        ("a copy", Work(lambda: np.copyto(old, x))),
    )


def versions() -> dict[str, str]:
    """Of what takes part."""
    return {"numpy": np.__version__}


def _work(run: Callable[[], object]) -> Work:
    return Work(run, partial(_peak, run))


def _peak(run: Callable[[], object]) -> int:
    """NumPy tells tracemalloc of its arrays."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

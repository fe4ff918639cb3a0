"""What is compared of each framework, in small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from mapdrop.tools.adapters import adapter_class
from mapdrop.tools.adapters.adapter import Work
from mapdrop.tools.bench.case import IN_PLACE, STEP, Case
from mapdrop.tools.bench.cases import cases
from mapdrop.tools.bench.comparison import Comparison, comparison
from mapdrop.tools.bench.measure import measure
from mapdrop.tools.bench.shapes import Shape

SMALL = {
    1: Shape("small-1", "", 40, 24, (30,)),
    2: Shape("small-2", "", 40, 24, (14, 14)),
    0: Shape("small-0", "", 40, 24, ()),
}
# The rates of torchvision's and timm's DropBlock told 0.1, of 14x14 maps: docs/coming-from.md.
BLOCK = {"mapdrop": 0.1, "torchvision's": 0.093, "timm's": 0.209}


def small(name: str) -> Iterator[tuple[Case, Comparison]]:
    """Each kind of case once, small."""
    adapters = adapter_class(name)
    seen = set()
    for case in cases(name, adapters):
        if case.direction == STEP:
            continue
        little = replace(case, shape=SMALL[len(case.shape.places)])
        if little.name not in seen:
            seen.add(little.name)
            yield little, comparison(adapters, little)


def check(framework: str) -> int:
    """Every work drops at its case's rate, whoever's it is, and its row has all fields."""
    count = 0
    for case, works in small(framework):
        for name, work in {"mapdrop": works.ours, **works.peers}.items():
            check_rate(case, name, work)
            count += 1
        row = measure(case, works, 0.001)
        assert set(row["ratios"]) == {*works.peers, works.limit[0]}
        assert all(value > 0 for value in row["ratios"].values())
        held = row["bytes"]
        if case.direction == IN_PLACE and held["mapdrop"] is not None:
            assert held.pop("mapdrop") == 0
        assert all(value is None for value in held.values()) or all(v > 0 for v in held.values())
    return count


def check_rate(case: Case, name: str, work: Work) -> None:
    """Drops differently each time, at the rate; of the gradient too."""
    runs = 1 if case.direction == IN_PLACE else 30
    made = [results(work.run()) for _ in range(runs)]
    for values in zip(*made, strict=True):
        shares = [float((value == 0).mean()) for value in values]
        rate = BLOCK[name] if case.operation == "block" else case.kind.p
        # Of 30 runs: the coins of the fewest (a sample each) have a deviation of 0.0115.
        near = 0.06 if runs > 1 else 0.2
        assert abs(np.mean(shares) - rate) < near, (case.name, name, np.mean(shares))
        if runs > 1:
            assert len({value.tobytes() for value in values}) > 1, (case.name, name)
    if case.both and module_gives_both(made[0]):
        y, gradient = made[0]
        np.testing.assert_array_equal(y == 0, gradient == 0)


def module_gives_both(values: list[Any]) -> bool:
    return len(values) == 2


def results(made: Any) -> list[Any]:
    """As NumPy's arrays of 32 bits: the result, and the gradient where it comes along."""
    parts = made if isinstance(made, (tuple, list)) else [made]
    return [as_numpy(part) for part in parts]


def as_numpy(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach().float()
    elif type(value).__module__.startswith("tensorflow"):
        import tensorflow as tf

        value = tf.cast(value, "float32").numpy()
    return np.array(value, np.float32)

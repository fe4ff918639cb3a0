"""TensorFlow against tf.nn.dropout, in a tf.function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

import mapdrop
from mapdrop.tools.bench.case import BOTH, FORWARD, LAST, Case, Work, Works
from mapdrop.tools.bench.shapes import find
from mapdrop.tools.bench.ways import elsewhere

_Drop = Callable[[Any], Any]


def cases() -> Iterator[Case]:
    """Two dtypes; there is no DropBlock to compare with."""
    yield from elsewhere.cases(("element", "spatial", "path"))
    for operation in ("element", "spatial"):
        for direction in (FORWARD, BOTH):
            yield Case(operation, find("resnet50-2"), direction, LAST, "bfloat16")


def works(case: Case) -> Works:
    """Ours, TensorFlow's, and a negation. What they hold in memory TensorFlow doesn't tell."""
    x = tf.cast(tf.random.normal(case.size), case.dtype)
    upstream = tf.identity(x) if case.both else None
    ones = (1,) * len(case.shape.places)
    noise = {
        "element": None,
        "spatial": (case.shape.batch, *ones, case.shape.maps),
        "path": (case.shape.batch, *ones, 1),
    }[case.operation]
    negate = tf.function(lambda x: -x, autograph=False)
    passes = 2 if case.both else 1
    return Works(
        _work(lambda x: mapdrop.drop(x, case.law.last, case.law.p), x, upstream),
        {"tf.nn.dropout": _work(lambda x: tf.nn.dropout(x, case.law.p, noise), x, upstream)},
        (
            "two negations" if case.both else "a negation",
            Work(lambda: [negate(x) for _ in range(passes)]),
        ),
    )


def versions() -> dict[str, str]:
    """Of what takes part."""
    return {"tensorflow": tf.__version__}


def _work(drop: _Drop, x: Any, upstream: Any | None) -> Work:
    """Forward, or with a gradient that is there already forward and backward."""

    @tf.function(autograph=False)
    def forward(x: Any) -> Any:
        return drop(x)

    @tf.function(autograph=False)
    def both(x: Any, upstream: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = drop(x)
        # Both, or the graph leaves one out.
        return y, tape.gradient(y, x, output_gradients=upstream)

    return Work((lambda: forward(x)) if upstream is None else (lambda: both(x, upstream)))

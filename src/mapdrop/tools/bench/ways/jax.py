"""JAX against Flax's and Equinox's dropout, under jit."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from typing import Any

import jax
from jax import Array

import mapdrop
from mapdrop.tools.bench.case import Case, Work, Works
from mapdrop.tools.bench.ways import elsewhere

_Drop = Callable[[Array, Array], Array]
"""Of a key and an array."""


def cases() -> Iterator[Case]:
    """Those for which Flax or Equinox has a layer."""
    return elsewhere.cases(("element", "spatial", "path"))


def works(case: Case) -> Works:
    """Ours, theirs, and a negation, which reads and writes as a copy does and can't be left out."""
    x = jax.random.normal(jax.random.key(1), case.size)
    turn = partial(_work, x=x, both=case.both)
    negate: Any = jax.jit(lambda x: -x)
    passes = 2 if case.both else 1
    limit = Work(lambda: [negate(x).block_until_ready() for _ in range(passes)])
    return Works(
        turn(lambda key, x: mapdrop.drop(x, case.law.last, case.law.p, seed=key)),
        {name: turn(drop) for name, drop in _peers(case).items()},
        ("two negations" if case.both else "a negation", limit),
    )


def versions() -> dict[str, str]:
    """Of what takes part."""
    found = {"jax": jax.__version__}
    for name in filter(importlib.util.find_spec, ("flax", "equinox")):
        found[name] = importlib.import_module(name).__version__
    return found


def _peers(case: Case) -> dict[str, _Drop]:
    drops: dict[str, _Drop] = {}
    places = tuple(range(1, 1 + len(case.shape.places)))
    same = {"element": (), "spatial": places, "path": (*places, len(case.size) - 1)}
    if importlib.util.find_spec("flax"):
        from flax import nnx

        layer = nnx.Dropout(case.law.p, broadcast_dims=same[case.operation])
        drops["nnx.Dropout"] = lambda key, x: layer(x, rngs=key)
    if case.operation == "element" and importlib.util.find_spec("equinox"):
        import equinox

        other = equinox.nn.Dropout(case.law.p)
        drops["equinox.nn.Dropout"] = lambda key, x: other(x, key=key)
    return drops


def _work(drop: _Drop, x: Array, both: bool) -> Work:
    """Forward, or forward and backward, each time with the next key."""
    keys = jax.random.split(jax.random.key(0), 1000)
    upstream = -x

    def step(key: Array, x: Array) -> tuple[Array, Array]:
        y, back = jax.vjp(partial(drop, key), x)
        return y, back(upstream)[0]  # Both, or the compiler leaves one out.

    run: Any = jax.jit(step if both else drop)
    turns = cycle(list(keys))
    return Work(lambda: jax.block_until_ready(run(next(turns), x)), lambda: peak(run, keys[0], x))


def peak(run: Any, *arguments: Any) -> int:
    """Bytes of the results and the scratch memory of a jitted function, as its compiler plans."""
    plan = run.lower(*arguments).compile().memory_analysis()
    return int(plan.output_size_in_bytes + plan.temp_size_in_bytes)

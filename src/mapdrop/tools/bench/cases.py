"""Which cases are timed of each framework."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mapdrop.tools.adapters.adapter import Adapter
from mapdrop.tools.bench.case import BOTH, FORWARD, IN_PLACE, LAST, PLAIN, STEP, Case
from mapdrop.tools.bench.shapes import SHAPES, Shape, find

_CHAIN = Shape("chain", "convolutions 3x3, 64-128-128-128-128 maps", 32, 64, (32, 32), ("compact",))
_FEW = ("resnet50-2", "tcn", "vit-b16")
"""Shapes at which frameworks other than PyTorch are timed, with channels last."""


def cases(name: str, adapters: type[Adapter]) -> Iterator[Case]:
    """Yield the cases of the framework of this name."""
    if name == "torch":
        yield Case("compact", _CHAIN, STEP, PLAIN, quick=True)
        yield from _torch()
        import torch

        if torch.cuda.is_available():
            yield from (replace(case, device="cuda") for case in _torch())
        return
    yield from _few(adapters)
    if name == "tensorflow":
        for operation in ("element", "spatial"):
            for direction in (FORWARD, BOTH):
                yield Case(operation, find("resnet50-2"), direction, LAST, "bfloat16")


def _torch() -> Iterator[Case]:
    """Yield every kind at every shape, and at one shape what few would notice elsewhere."""
    for shape in SHAPES:
        for operation in shape.operations:
            for direction in (FORWARD, BOTH):
                quick = shape.name == "resnet50-2"
                yield Case(operation, shape, direction, PLAIN, quick=quick)
    one = find("resnet50-2")
    for operation in ("element", "spatial"):
        for direction in (FORWARD, BOTH):
            yield Case(operation, one, direction, LAST)
            yield Case(operation, one, direction, PLAIN, "bfloat16")
    yield Case("block", one, BOTH, PLAIN, "bfloat16")
    for layout in (PLAIN, LAST):
        yield Case("spatial", one, IN_PLACE, layout)


def _few(adapters: type[Adapter]) -> Iterator[Case]:
    """Yield the kinds that the framework has peers of, at one shape of each sort."""
    directions = (FORWARD, BOTH) if adapters.gradients else (FORWARD,)
    for shape in map(find, _FEW):
        for operation in (o for o in shape.operations if o in adapters.peers_of):
            for direction in directions:
                quick = (
                    shape.name == _FEW[0]
                    and operation in ("element", "spatial")
                    and direction == directions[-1]
                )
                yield Case(operation, shape, direction, LAST, quick=quick)

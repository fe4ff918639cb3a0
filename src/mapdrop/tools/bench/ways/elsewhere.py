"""The cases of frameworks other than PyTorch: channels last, at one shape of each kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mapdrop.tools.bench.case import BOTH, FORWARD, LAST, Case
from mapdrop.tools.bench.shapes import find

_SHAPES = ("resnet50-2", "tcn", "vit-b16")
_QUICK = ("element", "spatial")


def cases(operations: Sequence[str], directions: Sequence[str] = (FORWARD, BOTH)) -> Iterator[Case]:
    """Those of these operations that networks have at the shapes."""
    for shape in map(find, _SHAPES):
        for operation in (o for o in shape.operations if o in operations):
            for direction in directions:
                quick = (
                    shape.name == _SHAPES[0] and operation in _QUICK and direction == directions[-1]
                )
                yield Case(operation, shape, direction, LAST, quick=quick)

"""What the cost model takes for a view shares memory, and what it takes for a copy does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.torch.compact.packed.registry import PACKED
from mapdrop.torch.graph.analysis import analyse
from mapdrop.torch.graph.facts import (
    DropFacts,
    Elementwise,
    Facts,
    Flatten,
    Identity,
    PerMap,
    Slice,
)
from tests.torch.compact.agreement import forced, graph_of, pixels, skips

C = 24
OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], type[Facts], bool, bool]] = {
    # Its kind, and whether it copies dense and packed arrays.
    "drop": (lambda x: F.dropout2d(x, 0.3), DropFacts, True, False),
    "identity": (lambda x: F.dropout2d(x, training=False), Identity, False, False),
    "flatten": (lambda x: x.flatten(1), Flatten, False, False),
    "slice": (lambda x: x.chunk(2, 1)[0], Slice, True, False),
    "gelu": (F.gelu, PerMap, True, True),
    "sum": (lambda x: x + x.tanh(), Elementwise, True, True),
}


class Model(nn.Module):
    """A drop, an operation, and a layer that reads it."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.operation, self.first = operation, nn.Conv2d(3, C, 3, padding=1)
        like = operation(torch.zeros(2, C, 4, 4))
        self.last = nn.Conv2d(like.shape[1], 8, 1) if like.dim() > 2 else nn.Linear(C * 16, 8)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.operation(F.dropout2d(self.first(x), 0.5)))


def shares_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


@pytest.mark.parametrize("name", OPERATIONS)
def test_packed_arrays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    operation, kind, _, copies = OPERATIONS[name]
    packed, seen = PACKED[kind], []
    run = packed.run

    def watch(self: Any, values: list[Tensor], *rest: Any) -> Tensor:
        result = run(self, values, *rest)
        seen.append(shares_memory(result, values[0]))
        return result

    monkeypatch.setattr(packed, "run", watch)
    fast = forced(Model(operation))
    fast(pixels(4, 3, 4, 4))
    assert skips(fast)
    assert packed.copies is copies
    assert seen
    assert seen == [not copies] * len(seen)


@pytest.mark.parametrize("name", OPERATIONS)
def test_dense_arrays(name: str) -> None:
    operation, kind, copies, _ = OPERATIONS[name]
    facts = analyse(graph_of(Model(operation), pixels(4, 3, 4, 4).float())).facts.values()
    assert any(type(one) is kind for one in facts)
    assert kind.copies is copies
    x = pixels(4, C, 4, 4).requires_grad_()
    y = operation(x)
    gradient = torch.ones_like(y)
    (came,) = torch.autograd.grad(y, x, gradient)
    assert (shares_memory(y, x) and shares_memory(came, gradient)) is not copies

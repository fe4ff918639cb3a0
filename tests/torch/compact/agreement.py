"""Check that a compact model's training step has the results of the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.torch.compact import Costs, compact
from mapdrop.torch.compact.report import Line, Report
from mapdrop.torch.compact.schedule import Schedule
from mapdrop.torch.graph.capture import Captured
from mapdrop.torch.graph.graph import Graph

ALWAYS = Costs(
    flops=1e9, own=1e20, call=0, own_call=0, weights=1e20, activations=1e20, margin=-1, least=-1
)
"""Only dense convolutions cost anything, so that skipping pays in models of any size."""
CLOSE = 1e-10


def outcome(net: nn.Module, inputs: tuple[Tensor, ...], seed: int) -> dict[str, Tensor]:
    """Run a training step; return its output, all gradients and the generator's state."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    net.zero_grad(set_to_none=True)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed looks for GPUs, each time.
    y = net(*leaves)
    state = torch.get_rng_state()
    weights = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(seed))
    (y * weights).sum().backward()
    found = {"output": y.detach(), "generator": state}
    found |= {f"input {i}": x.grad for i, x in enumerate(leaves) if x.grad is not None}
    found |= {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    net.zero_grad(set_to_none=True)
    return found


def check(net: nn.Module, fast: nn.Module, inputs: tuple[Tensor, ...], seed: int = 0) -> None:
    """Raise AssertionError if a compact model's step differs from the model's own."""
    want, have = outcome(net, inputs, seed), outcome(fast, inputs, seed)
    assert have.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close({name: have[name]}, {name: value}, rtol=CLOSE, atol=CLOSE)


def report(fast: nn.Module) -> Report:
    """Return the report of the last call."""
    view: Any = fast
    found = view.report()
    assert isinstance(found, Report)
    return found


def line(fast: nn.Module, name: str) -> Line:
    """Return an operation's line in the report of the last call."""
    found = report(fast)
    assert not found.reason, found.reason
    return next(line for line in found.lines if line.name == name)


def forced(net: nn.Module) -> nn.Module:
    """Return the model, compact wherever it can be."""
    return compact(net.double(), ALWAYS)


def skips(fast: nn.Module) -> bool:
    """Return whether the last call skipped anything."""
    seen = report(fast)
    of_maps = any(line.reads < 1 or line.makes < 1 for line in seen.lines)
    return of_maps or any(branch.operations for branch in seen.branches)


def captured(model: nn.Module, *inputs: Tensor) -> list[tuple[Graph, tuple[Any, ...]]]:
    """Run a model once as it is; return its graphs, each with its inputs, parameters included."""
    found: list[tuple[Graph, tuple[Any, ...]]] = []

    def keep(graph: Graph, inputs: Sequence[Any]) -> str:
        found.append((graph, tuple(inputs)))
        return "only captured"

    def forward(model: nn.Module, args: Any, kwargs: Any) -> Any:
        return model(*args, **kwargs)

    Captured[Schedule](forward, keep)(model, inputs, {})
    return found


def graph_of(model: nn.Module, *inputs: Tensor) -> Graph:
    """Run a model once as it is, and return its only graph."""
    ((graph, _),) = captured(model, *inputs)
    return graph


def pixels(*shape: int) -> Tensor:
    """Return random values, the same each time."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))

"""The shape of every node's result, without computing any: by PyTorch's fake tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mapdrop.torch.compact.capture import Captured, CaptureError, hooked
from mapdrop.torch.layers import Drop


def note_shapes(captured: Captured, values: list[Tensor]) -> None:
    """Write each node's fake result to `node.meta["val"]`. Raises CaptureError."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        with mode, torch.no_grad(), _nothing_remembered():
            _Noting(captured.owner, captured.graph).run(*map(mode.from_tensor, values))
    except Exception as problem:  # Whatever an operation raises for shapes that do not fit.
        raise CaptureError(f"its shapes cannot be followed: {problem}") from problem


@contextmanager
def _nothing_remembered() -> Iterator[None]:
    """Autocast would keep the fake weights that it made, and give them to the real operations."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


class _Noting(fx.Interpreter):
    """Runs the graph and notes what comes out; layers are called without touching their state."""

    def __init__(self, owner: nn.Module, graph: fx.Graph) -> None:
        super().__init__(owner, garbage_collect_values=True, graph=graph)
        self.copies: dict[int, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        n.meta["val"] = result
        return result

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        if isinstance(module, Drop):  # Which would count as a call of a seeded layer.
            return torch.empty_like(args[0])
        call = module.forward if hooked(module) else module  # Hooks are for real calls.
        with _buffers_kept(module):
            return call(*args, **kwargs)


class _buffers_kept:  # noqa: N801 - used like a function
    """Gives a module copies of its buffers, for a call that may count in them."""

    def __init__(self, module: nn.Module) -> None:
        self.modules = list(module.modules())

    def __enter__(self) -> None:
        self.real = [dict(m._buffers) for m in self.modules]
        for module in self.modules:
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = torch.empty_like(buffer)

    def __exit__(self, *problem: Any) -> None:
        for module, buffers in zip(self.modules, self.real, strict=True):
            module._buffers.update(buffers)

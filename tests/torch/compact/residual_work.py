"""What the branches of a residual model are called with, keep and compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile

from mapdrop.torch import compact_report
from tests.torch.compact.residual_drops import Residual
from tests.torch.compact.training_step import step

_PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::conv2d"}


@dataclass(frozen=True)
class Call:
    """One call of a residual block in a model's forward.

    Attributes:
        block: the block.
        inputs: what its branch was called with.
        made, added: what the branch returned, and what was added to the block's input.
    """

    block: Residual
    inputs: tuple[Tensor, ...]
    made: Tensor
    added: Tensor

    @property
    def kept(self) -> Tensor:
        """Return, for each sample, whether it was kept."""
        return (self.added != 0).flatten(1).any(1)

    @property
    def factor(self) -> Tensor:
        """Return, for each sample, by what the branch's result was multiplied."""
        return self.added.abs().flatten(1).sum(1) / self.made.abs().flatten(1).sum(1)


def calls(net: nn.Module, inputs: Sequence[Tensor], seed: int = 0) -> list[Call]:
    """Run a forward; return the calls of its residual blocks, inner ones before outer ones."""
    found: list[Call] = []
    handles = []
    for block in (m for m in net.modules() if isinstance(m, Residual)):
        last: dict[str, Any] = {}

        def branch(_: Any, given: Any, made: Tensor, last: dict[str, Any] = last) -> None:
            last.update(inputs=tuple(x.detach() for x in given), made=made.detach())

        def added(
            _: Any, __: Any, y: Tensor, last: dict[str, Any] = last, block: Residual = block
        ) -> None:
            found.append(Call(block, added=y.detach(), **last))

        handles.append(block.branch.register_forward_hook(branch))
        handles.append(block.added.register_forward_hook(added))
    torch.manual_seed(seed)
    net(*inputs)
    for handle in handles:
        handle.remove()
    return found


def flops(function: Callable[..., Tensor], inputs: Sequence[Tensor], seed: int = 0) -> int:
    """Return the floating-point operations of matrix products and convolutions in a step.

    PyTorch's profiler reads them off the operations that run, in forward and backward, whoever
    calls these. Of a convolution it counts the forward.
    """
    given = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    torch.manual_seed(seed)
    with profile(with_flops=True, use_kineto=False) as seen:
        function(*given).sum().backward()
    return sum(e.flops for e in seen.function_events if e.name in _PRODUCTS)


def least_flops(net: nn.Module, inputs: Sequence[Tensor], seed: int = 0) -> Fraction:
    """Return what `flops` is if each branch runs for the samples that it and all around it keep.

    The masks are those of the model itself, which must not skip.
    """
    found = calls(net, inputs, seed)
    total = Fraction(flops(net, inputs, seed))
    for call in found:
        inner = [other for other in found if _is_inside(other.block, call.block)]
        outer = [other for other in found if _is_inside(call.block, other.block)]
        own = _branch_flops(call) - sum(map(_branch_flops, _outermost(inner)))
        kept = call.kept
        for other in outer:
            kept = kept & other.kept
        total -= own * (1 - Fraction(int(kept.sum()), len(kept)))
    return total


def _branch_flops(call: Call) -> int:
    return flops(call.block.branch, call.inputs)


def _is_inside(block: Residual, other: Residual) -> bool:
    return block is not other and any(module is block for module in other.branch.modules())


def _outermost(found: list[Call]) -> list[Call]:
    return [c for c in found if not any(_is_inside(c.block, other.block) for other in found)]


def seed_that_keeps(count: int, net: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Return the first seed with which each drop of a model keeps so many samples."""
    for seed in range(5000):
        if all(int(call.kept.sum()) == count for call in calls(net, inputs, seed)):
            return seed
    raise AssertionError(f"no seed keeps {count} samples in each branch")


def work(fast: nn.Module, inputs: Sequence[Tensor], seed: int = 0) -> int:
    """Return the `flops` of a step of a compact model, without those of capturing it."""
    step(fast, inputs, seed)
    return flops(fast, inputs, seed)


def branches(fast: nn.Module) -> Any:
    """Return what the report of the last call says of each drop of samples."""
    found: Any = compact_report(fast)
    return found.branches

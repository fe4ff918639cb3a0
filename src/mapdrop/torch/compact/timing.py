"""How long operations take, undisturbed by the caller's settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mapdrop.system.timing import Times, interleaved

_ROUNDS = 12


@contextmanager
def undisturbed() -> Iterator[None]:
    """Suspend what the caller may have set up: no_grad, autocast, hooks."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor),
    ):
        yield


def timed(*functions: Callable[[], object]) -> list[Times]:
    """Return the times of each, called in turn."""
    return [*interleaved(dict(enumerate(functions)), _ROUNDS).values()]


def shortest(*functions: Callable[[], object]) -> list[float]:
    """Return the seconds that each takes at its best."""
    return [times.least for times in timed(*functions)]


def step(operation: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> None:
    """Run forward, and backward to both arguments; all is done when it returns."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = operation(x, weight)
    torch.autograd.grad(y, (x, weight), torch.ones_like(y))
    if y.is_cuda:
        torch.cuda.synchronize()

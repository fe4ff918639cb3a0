"""How long operations take: the best of some rounds, one after the other in every round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

_ROUNDS, _WARM_UP = 12, 2


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever the code that asks for times has set up around it: no_grad, autocast, hooks."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor),
    ):
        yield


def shortest(*functions: Callable[[], object]) -> list[float]:
    """Seconds of each at its best: what else runs on the machine only ever adds to them."""
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(_WARM_UP + _ROUNDS):
        for function, found in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            if number >= _WARM_UP:
                found.append(time.perf_counter() - start)
    return [min(found) for found in seconds]


def step(operation: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> None:
    """Forward, and backward to both arguments, done when it returns."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = operation(x, weight)
    torch.autograd.grad(y, (x, weight), torch.ones_like(y))
    if y.is_cuda:
        torch.cuda.synchronize()

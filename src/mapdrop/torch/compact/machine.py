"""This machine's constants for the cost model, by measuring: they decide where skipping pays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mapdrop.torch.compact.cost import Costs
from mapdrop.torch.compact.direct import fits
from mapdrop.torch.compact.layout import Layout
from mapdrop.torch.compact.mixing import Convolution, Job, mix

_SAMPLES, _MAPS, _SIDE, _KERNEL = 8, 64, 16, 3
_ROUNDS, _WARM_UP = 12, 2
_COPIED = 1 << 22  # Values: more than the caches near the cores of most processors hold.


def measured() -> Costs:
    """Constants of this machine for PyTorch's present number of threads.

    Takes a tenth of a second, once for each number of threads in a process. What is not measured
    here keeps its default.
    """
    return _measured(torch.get_num_threads())


@lru_cache
def _measured(threads: int) -> Costs:
    with _undisturbed():
        return _timed()


def _timed() -> Costs:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_SAMPLES, _MAPS, _SIDE, _SIDE, generator=generator)
    weight = torch.randn(_MAPS, _MAPS, _KERNEL, _KERNEL, generator=generator)
    ones = (1,) * 2
    settings = Convolution(ones, ones, ones, (0,) * 2)
    if not fits(settings, x, weight):
        return Costs()
    every = Layout.of(np.ones((_SAMPLES, _MAPS), bool))
    packed, job = x.view(1, -1, _SIDE, _SIDE), Job(settings, every, every)
    large = torch.zeros(_COPIED)
    whole, own, copy = _shortest(
        lambda: _step(lambda a, w: settings.forward(a, w, None), x, weight),
        lambda: _step(lambda a, w: mix(a, w, None, job), packed, weight),
        lambda: large.clone(),
    )
    work = 3 * 2 * _SAMPLES * _MAPS**2 * (_KERNEL * _SIDE) ** 2
    moved = 2 * large.numel() * large.element_size()
    return Costs(flops=work / whole, own=work / own, activations=moved / copy)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Whatever a forward pass in which the constants are needed first has set up around it."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor),
    ):
        yield


def _step(operation: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> None:
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = operation(x, weight)
    torch.autograd.grad(y, (x, weight), torch.ones_like(y))


def _shortest(*functions: Callable[[], object]) -> list[float]:
    """Seconds of each at its best, one after the other in every round.

    Not the median: where another process holds a core, PyTorch's threads wait for each other, and
    half of the rounds may take a hundred times as long.
    """
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(_WARM_UP + _ROUNDS):
        for function, found in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            if number >= _WARM_UP:
                found.append(time.perf_counter() - start)
    return [min(found) for found in seconds]

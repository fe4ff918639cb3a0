"""This machine's constants for the cost model, by measuring: they decide where skipping pays."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.packed_conv.cpu import fits
from mapdrop.torch.compact.packed_conv.runs import Convolution, Job, mix
from mapdrop.torch.compact.packing.layout import Layout
from mapdrop.torch.compact.timing import shortest, step, undisturbed

_SAMPLES, _MAPS, _SIDE, _KERNEL = 8, 64, 16, 3
_COPIED = 1 << 22  # Values: more than the caches near the cores of most processors hold.


def measured() -> Costs:
    """Constants of this machine for PyTorch's present number of threads.

    Takes a tenth of a second, once for each number of threads in a process. What is not measured
    here keeps its default.
    """
    return _measured(torch.get_num_threads())


@lru_cache
def _measured(threads: int) -> Costs:
    # In one thread: where another process holds a core, threads wait for each other, and what they
    # take says nothing.
    torch.set_num_threads(1)
    try:
        with undisturbed():
            return _measure(threads)
    finally:
        torch.set_num_threads(threads)


def _measure(threads: int) -> Costs:
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
    whole, own, copy = shortest(
        lambda: step(lambda a, w: settings.forward(a, w, None), x, weight),
        lambda: step(lambda a, w: mix(a, w, None, job), packed, weight),
        lambda: large.clone(),
    )
    work = threads * 3 * 2 * _SAMPLES * _MAPS**2 * (_KERNEL * _SIDE) ** 2
    moved = 2 * large.numel() * large.element_size()
    return Costs(flops=work / whole, own=work / own, activations=moved / copy)

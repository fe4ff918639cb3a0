"""Calibrate the cost model: measure this machine's constants, which decide where skipping pays."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.packed_conv.convolve import convolve
from mapdrop.torch.compact.packed_conv.cpu import supports
from mapdrop.torch.compact.packed_conv.operation import PackedConv
from mapdrop.torch.compact.packing.layout import Layout
from mapdrop.torch.compact.timing import shortest, step, undisturbed
from mapdrop.torch.graph.settings import Convolution

_SAMPLES, _MAPS, _SIDE, _KERNEL = 8, 64, 16, 3
_COPIED = 1 << 22  # Values: more than the caches near the cores of most processors hold.


def calibrate() -> Costs:
    """Return the constants of this machine for PyTorch's present number of threads.

    Takes a tenth of a second, once for each number of threads in a process. What is not measured
    keeps its default.
    """
    return _calibrate(torch.get_num_threads())


@lru_cache
def _calibrate(threads: int) -> Costs:
    # In one thread: if another process holds a core, threads wait for each other, and their time
    # says nothing.
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
    if not supports(settings, x, weight):
        return Costs()
    layout = Layout.from_bits(np.ones((_SAMPLES, _MAPS), bool))
    packed, conv = x.view(1, -1, _SIDE, _SIDE), PackedConv(settings, layout, layout)
    large = torch.zeros(_COPIED)
    dense, own, copy = shortest(
        lambda: step(lambda a, w: settings.forward(a, w, None), x, weight),
        lambda: step(lambda a, w: convolve(a, w, None, conv), packed, weight),
        lambda: large.clone(),
    )
    work = threads * 3 * 2 * _SAMPLES * _MAPS**2 * (_KERNEL * _SIDE) ** 2
    moved = 2 * large.numel() * large.element_size()
    return Costs(flops=work / dense, own=work / own, activations=moved / copy)

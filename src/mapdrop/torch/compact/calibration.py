"""Calibrate the cost model: measure this machine's constants, which decide where skipping pays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from mapdrop.system.timing import ratio
from mapdrop.torch.compact.cost_model import PASSES, Costs, Workload
from mapdrop.torch.compact.packed_conv.convolve import convolve
from mapdrop.torch.compact.packed_conv.cpu import supports
from mapdrop.torch.compact.packed_conv.operation import PackedConv
from mapdrop.torch.compact.packing.layout import Layout, dense_layout
from mapdrop.torch.compact.timing import step, timed, undisturbed
from mapdrop.torch.graph.lattice import AllMaps, Kept
from mapdrop.torch.graph.settings import Convolution

_SAMPLES, _MAPS, _KEPT, _SIDE, _KERNEL = 8, 128, 96, 16, 3
_COPIED = 1 << 22  # Values: more than the caches near the cores of most processors hold.


def calibrate() -> Costs:
    """Return the constants of this machine for PyTorch's present number of threads.

    Takes about a second, once for each number of threads in a process. What is not measured
    keeps its default.

    Returns:
        What `compact` takes as `costs`, in operations, bytes and seconds.

    Examples:
        >>> from mapdrop.torch.compact import calibrate
        >>> costs = calibrate()
        >>> costs.flops > 0, calibrate() is costs
        (True, True)
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
    """Solve the cost model for its constants, so that it predicts what was measured."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_SAMPLES, _MAPS, _SIDE, _SIDE, generator=generator)
    weight = torch.randn(_MAPS, _MAPS, _KERNEL, _KERNEL, generator=generator)
    settings = Convolution((1, 1), (_KERNEL // 2,) * 2, (1, 1), (0, 0))
    if not supports(settings, x, weight):
        return Costs()
    layout, few = Layout.from_bits(_bits()), dense_layout(1, 1)
    packed, conv = x.new_zeros(1, layout.rows, _SIDE, _SIDE), PackedConv(settings, layout, layout)
    tiny, call = x[:1, :1, :1, :1], PackedConv(settings, few, few)
    large, other = torch.zeros(_COPIED), torch.zeros(_COPIED)
    dense, own, smallest, copy = timed(
        lambda: step(lambda a, w: settings.forward(a, w, None), x, weight),
        lambda: step(lambda a, w: convolve(a, w, None, conv), packed, weight),
        lambda: step(lambda a, w: convolve(a, w, None, call), tiny, weight[:1, :1]),
        lambda: other.copy_(large),  # A new array's pages would be mapped, too.
    )
    moved = 2 * large.numel() * large.element_size()
    costs = Costs(activations=moved / copy.least, own_call=smallest.least / PASSES)
    work = Workload(_SAMPLES, _MAPS, _MAPS, _KERNEL**2, _SIDE**2, _SIDE**2, _KERNEL)
    every, kept = AllMaps(_MAPS), Kept(0, _MAPS, _KEPT / _MAPS, _SAMPLES, _MAPS, _KEPT)

    def by_torch(flops: float) -> float:
        return replace(costs, flops=flops).seconds(work, every, every)

    def by_own_kernels(own: float) -> float:
        return replace(costs, own=own).seconds(work, kept, kept)

    # Both times of a round meet the same machine, so their ratio is known best.
    flops = _speed(by_torch, dense.least)
    chosen = _speed(by_own_kernels, dense.least / ratio(own, dense))
    return replace(costs, flops=threads * flops, own=threads * chosen)


def _speed(predict: Callable[[float], float], measured: float) -> float:
    """Return the speed at which the model predicts what was measured.

    At least half of the time is arithmetic, whatever the noise.
    """
    rest = predict(math.inf)
    return (predict(1.0) - rest) / max(measured - rest, measured / 2)


def _bits() -> NDArray[np.bool_]:
    """Return the maps that are kept: `_KEPT` of each sample."""
    order = np.random.default_rng(0).random((_SAMPLES, _MAPS)).argsort(axis=1)
    return order < _KEPT

"""The coins of a part of a larger array, in the host's memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop import kernels
from mapdrop.spec import reference as spec
from mapdrop.spec.local_spec import Box, LocalSpec

U64 = np.uint64


def drawn(
    part: LocalSpec, key: int, step: int, threads: int
) -> tuple[spec.Bits, float | NDArray[np.float64]]:
    """The coins as `part.binding` has them, and what kept values are multiplied by."""
    coins = kept(part.law, part.box, key, step, threads)
    scale = part.whole.factor(coins)
    if isinstance(scale, np.ndarray):
        scale = taken(np.broadcast_to(scale, coins.shape), part)
    return taken(coins, part), scale


def kept(law: spec.Law, box: Box, key: int, step: int, threads: int) -> spec.Bits:
    """`coins.kept` for the box alone."""
    if 0 in box.shape:
        return np.zeros(box.shape, bool)
    words = _words(box, key, step, threads)
    if law.block:
        return ~_covered(words < U64(spec.threshold(spec.centre_rate(law, box.sizes))), law, box)
    if law.independent:
        return np.asarray(words >= U64(spec.threshold(law.p)))
    axis = law.exact if law.balance is None else law.balance
    assert axis is not None
    extra = _words(box.without(axis), key, step, threads, math.prod(box.sizes))
    return spec.largest(words, axis, np.expand_dims(spec.quota(law, box.sizes, extra), axis))


def taken(coins: NDArray[Any], part: LocalSpec) -> NDArray[Any]:
    """From the box's axes to those of `part.binding`."""
    lined_up = coins.transpose(part.order).reshape(part.merged)
    for axis, take in enumerate(part.takes):
        if take is not None:
            lined_up = np.take(lined_up, take, axis)
    return np.ascontiguousarray(lined_up)


def _words(box: Box, key: int, step: int, threads: int, first: int = 0) -> spec.Words:
    """The words of the box's coins, numbered from `first` on."""
    starts, run = box.runs
    numbers = (starts + first).astype(U64)
    fast = kernels.for_cpu()
    if fast is None:
        every = numbers[:, None] + np.arange(run).astype(U64)
        return spec.words(every, key, step).reshape(box.shape)
    words: spec.Words = fast.runs(numbers, run, key, step, threads)
    return words.reshape(box.shape)


def _covered(centres: spec.Bits, law: spec.Law, box: Box) -> spec.Bits:
    """Every place of the box that the block of some centre covers."""
    covered = centres
    for axis, k, n, first, last in box.spans(law):
        source, covered = np.moveaxis(covered, axis, 0), np.zeros(box.shape, bool)
        target = np.moveaxis(covered, axis, 0)
        for offset in range(-(k // 2), k - k // 2):
            low, high = max(0, first + offset), min(n, last + 1 + offset)
            if low < high:
                target[low:high] |= source[low - offset : high - offset]
    return covered

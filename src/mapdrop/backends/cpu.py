"""Dropping in CPU memory: NumPy arrays and CPU tensors share this."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop import kernels
from mapdrop.backends.cpu_coins import BoxSpace, CompiledSpace, to_values
from mapdrop.spec import law
from mapdrop.spec.binding import Binding
from mapdrop.spec.law import Loops as Loops
from mapdrop.spec.local_spec import LocalSpec
from mapdrop.spec.mask_spec import BoundSpec
from mapdrop.spec.numpy_coins import Bits, NumpySpace

_LONG = 1 << 12  # Values in a run of coins for which a call of the kernel of its own pays.


def drawn(
    bound: BoundSpec | LocalSpec,
    key: int,
    step: int,
    threads: int,
    order: tuple[int, ...] | None = None,
) -> tuple[Bits, float | NDArray[np.float64]]:
    """Return the coins as `bound.binding` has them, and what kept values are multiplied by.

    `order` is the order of the coin axes in which they would best lie in memory; if it is None,
    they lie in their own.
    """
    space: NumpySpace
    if isinstance(bound, LocalSpec):
        space = BoxSpace(bound.box, key, step, threads)
        coins = law.kept(bound.law, space)
        factor = bound.bound.factor(space, coins)
        if isinstance(factor, np.ndarray):
            factor = to_values(np.broadcast_to(factor, coins.shape), bound)
        return to_values(coins, bound), factor
    sizes = bound.binding.coins
    if kernels.for_cpu() is None:
        space = NumpySpace(sizes, key, step)
    else:
        space = CompiledSpace(sizes, key, step, threads, order)
    coins = law.kept(bound.law, space)
    return coins, bound.factor(space, coins)


def compiled(bound: BoundSpec | LocalSpec, dtype: str) -> bool:
    """Whether `drop_into` can do it: there are kernels for the dtype, and one scale for all."""
    fast = kernels.for_cpu()
    if fast is None or bound.scale == "sample":
        return False
    return dtype != "float16" or bool(fast.float16_in_hardware())


def drop_into(
    out: NDArray[Any],
    x: NDArray[Any],
    bound: BoundSpec | LocalSpec,
    key: int,
    step: int,
    threads: int,
) -> None:
    """out = x dropped. float16 comes as uint16 and bfloat16 as int16 of the same bits."""
    walk = memory_walk(bound.binding.ungrouped, out.strides, out.itemsize)
    if walk is None:
        dense = x.copy(order="K")
        drop_into(dense, dense, bound, key, step, threads)
        np.copyto(out, dense)
        return
    if x.strides != out.strides:
        np.copyto(out, x)
        x = out
    order, path = walk
    source = x.transpose(order).reshape(-1)
    target = source if out is x else out.transpose(order).reshape(-1)
    number = np.float64 if x.dtype == np.float64 else np.float32
    fast = kernels.for_cpu()
    assert fast is not None
    if bound.law.independent and bound.counted_axes is None and bound.binding.count == x.size:
        law = key, step, bound.law.p, number(bound.expected)
        runs = _runs(bound.starts, source, target, path)
        if runs and all(fast.elements(*run, *law, loops, threads) for *run, loops in runs):
            return
    binding = bound.binding.ungrouped
    coin_order = [coin for axis in order for _, coin in binding.axes[axis] if coin is not None]
    made, scale = drawn(bound, key, step, threads, tuple(coin_order))
    kept = repeated(made, bound.binding)
    if not kept.flags.c_contiguous:
        path = _loops(binding, order, kept.strides)
    fast.apply(source, target, kept, number(scale), path, threads)


def _runs(
    starts: NDArray[np.int64], source: NDArray[Any], target: NDArray[Any], path: Loops
) -> list[tuple[NDArray[Any], NDArray[Any], int, Loops]]:
    """Return the parts of two flat arrays whose coins are consecutive; none if they are short.

    Each is (source, target, the number of the first coin, the loops over it).
    """
    if len(starts) == 1:
        return [(source, target, int(starts[0]), path)]
    shape = len(starts), source.size // max(1, len(starts))
    long, in_order = shape[0] > 0 and shape[1] >= _LONG, path == ((source.size, 1),)
    if not (long and in_order) or (starts % 4).any():
        return []
    loops = ((shape[1], 1),)
    pairs = zip(source.reshape(shape), target.reshape(shape), starts.tolist(), strict=True)
    return [(x, x if target is source else y, start, loops) for x, y, start in pairs]


def overlapping(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether several indices may have one place in memory, as those of an expanded array have."""
    if 0 in shape:
        return False
    reach = 0  # Of the axes with shorter strides.
    for stride, size in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False


def repeated(made: Bits, binding: Binding) -> Bits:
    """The coins of `binding.ungrouped`: repeated where the last group of a batch is smaller."""
    if binding.repeats is None:
        return made
    axis, members, size = binding.repeats
    return np.take(made, np.arange(size) // members, axis)


@lru_cache(maxsize=4096)
def memory_walk(
    binding: Binding, strides: tuple[int, ...], itemsize: int
) -> tuple[tuple[int, ...], Loops] | None:
    """How memory is laid out: the axes from the outermost to the innermost, and loops over it.

    A loop is (size, step of the coin's number); neighbours are merged where they can be. None
    where the values do not fill one piece of memory.
    """
    shape = binding.shape
    order = sorted(range(len(shape)), key=lambda a: (-strides[a], -shape[a], a))
    expected = itemsize
    for axis in reversed(order):
        if shape[axis] != 1 and strides[axis] != expected:
            return None
        expected *= shape[axis]
    return tuple(order), _loops(binding, order, law.strides(binding.coins))


def _loops(binding: Binding, order: Sequence[int], steps: Sequence[int]) -> Loops:
    """Return loops over values in this order of their axes, by the steps along the coin axes."""
    factors = [factor for axis in order for factor in binding.axes[axis]]
    return law.merged((size, 0 if coin is None else steps[coin]) for size, coin in factors)

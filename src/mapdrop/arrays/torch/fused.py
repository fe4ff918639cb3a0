"""How a compiled graph sees a drop: a mask, then plain operations that fuse with their neighbours.

PyTorch's compiler, Inductor, takes the operation apart after autograd: it reads a small mask where
it computes the values anyway, and keeps it for backward. Where every value has a coin of its own
the operation stays whole, because it draws and applies the coins on one way through memory: a mask
would be as large as the values are many.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from mapdrop import seed as seeds
from mapdrop.arrays import host
from mapdrop.arrays.torch import coins as plain
from mapdrop.arrays.torch import device
from mapdrop.arrays.torch.values import plan_for, plan_of
from mapdrop.part import Part
from mapdrop.plan import Plan

_library = torch.library.Library("mapdrop", "FRAGMENT")
# Compiled graphs that PyTorch keeps on disk, and finds by `drop`, call it so and expect what it
# returns: to change either takes new names for both.
_library.define(
    "mask(Tensor seed, str? stream, str pattern, float p, str options, int[] shape, int[] order,"
    " ScalarType dtype) -> Tensor"
)


@cache
def teach_inductor() -> None:
    """Tell Inductor how to take the operation apart. It is imported by who compiles."""
    from torch._inductor import decomposition

    decomposition.register_decomposition([torch.ops.mapdrop.drop.default])(_apart)
    decomposition.fast_random_decomps.cache_clear()  # Of what was compiled before, a copy.


def _apart(x: Tensor, seed: Tensor, *request: Any) -> Tensor:
    if not _fusible(x, request):
        whole: Tensor = torch.ops.mapdrop.drop_whole(x, seed, *request)
        return whole
    strides = torch.empty_like(x).stride()
    order = sorted(range(x.dim()), key=lambda axis: -strides[axis])
    # Code for CPUs takes long to widen bytes; where all values have one, memory takes longer.
    small = _shape(plan_of(x, request)) != list(x.shape)
    dtype = x.dtype if x.is_cpu and small else torch.bool
    mask = torch.ops.mapdrop.mask(seed, *request, x.shape, order, dtype)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    scaled = (x.to(wide) * plan_of(x, request).expected).to(x.dtype)
    # Compared at x's size: else the comparison's result, bytes again, would be what is stored.
    kept = mask.expand([x.shape[axis] for axis in order]) != 0
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    return torch.where(kept.permute(_inverse(order)), scaled, zero)


def _fusible(x: Tensor, request: Any) -> bool:
    """Whether the sizes are known, there is one scale for all, and coins are shared or depend."""
    if not all(isinstance(size, int) for size in x.shape):
        return False
    asked = plan_of(x, request)
    own = asked.law.independent and asked.binding.count == x.numel()
    return asked.measured is None and not own


def _mask(
    seed: Tensor, stream: str | None, pattern: str, p: float, options: str,
    shape: list[int], order: list[int], dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """1 where x is kept, with x's axes in the order of its memory, or 1 instead of an axis."""
    asked = plan_for(tuple(shape), pattern, p, options)
    made = _lined_up(_coins(seed, stream, asked), asked).to(dtype)
    return made.permute(order).contiguous()


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _coins(seed: Tensor, stream: str | None, asked: Plan | Part) -> Tensor:
    if device.known(seed):
        return device.coins(seed, stream, asked)
    if not seed.is_cpu:
        return plain.drawn(asked, seed, stream)[0]
    number, step = [n % 2**64 for n in (*seed.tolist(), 0)[:2]]
    key = seeds.key(number, stream)
    return torch.from_numpy(host.drawn(asked, key, step, torch.get_num_threads())[0])


def _lined_up(coins: Tensor, asked: Plan | Part) -> Tensor:
    """The coins along the array's axes: one for each index, or 1 where an axis has none."""
    whole = asked.binding.whole
    order, factors = whole.lineup
    drawn = [any(coin is not None for _, coin in part) for part in whole.axes]
    spread = [n if has else 1 for part, has in zip(whole.axes, drawn, strict=True) for n, _ in part]
    lined_up = plain.repeated(coins, asked.binding).permute(order).reshape(factors).expand(spread)
    return lined_up.reshape(_shape(asked))


def _shape(asked: Plan | Part) -> list[int]:
    whole = asked.binding.whole
    return [
        size if any(coin is not None for _, coin in part) else 1
        for size, part in zip(whole.shape, whole.axes, strict=True)
    ]


def _pretend(
    seed: Tensor, stream: str | None, pattern: str, p: float, options: str,
    shape: list[int], order: list[int], dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    lasting = _shape(plan_for(tuple(shape), pattern, p, options))
    return seed.new_empty([lasting[axis] for axis in order], dtype=dtype)


_library.impl("mask", _mask, "CompositeExplicitAutograd")
torch.library.register_fake("mapdrop::mask", _pretend, lib=_library)

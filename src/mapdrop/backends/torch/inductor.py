"""Decompose a drop for Inductor: a mask, then operations that fuse with their neighbours.

PyTorch's compiler, Inductor, takes the operation apart after autograd: it reads a small mask where
it computes the values anyway, and keeps it for backward. Where every value has a coin of its own
that mask is a bit for each on a GPU. On a CPU unpacking bits costs more than memory traffic, so the
operation is not decomposed, and one kernel draws and applies the mask.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from mapdrop.backends import cpu
from mapdrop.backends.cpu import memory_walk
from mapdrop.backends.torch import gpu
from mapdrop.backends.torch._internals import decompose_in_inductor
from mapdrop.backends.torch.coins import drawn, repeated
from mapdrop.backends.torch.rate import OVERLOADS, overload_for
from mapdrop.backends.torch.seeds import read_seed
from mapdrop.backends.torch.text import Rate, bound_at_any_rate, bound_to
from mapdrop.spec.local_spec import LocalSpec
from mapdrop.spec.mask_spec import BoundSpec

_library = torch.library.Library("mapdrop", "FRAGMENT")
# Compiled graphs that PyTorch caches on disk under the name `drop` call these operations: whoever
# changes their arguments or results must rename both.
for _overload, (_type, _tags) in OVERLOADS.items():
    _given = f"Tensor seed, str? stream, str pattern, {_type} p, str options, int[] shape"
    _library.define(
        f"mask{_overload}({_given}, int[] order, ScalarType dtype) -> Tensor", tags=_tags
    )
    _library.define(f"bits{_overload}({_given}) -> Tensor", tags=_tags)
_library.define("scale(Tensor p, str pattern, str options, int[] shape) -> Tensor")


@cache
def teach_inductor() -> None:
    """Register the decomposition with Inductor, which only compiling imports."""
    for overload in (torch.ops.mapdrop.drop.default, torch.ops.mapdrop.drop.scheduled):
        decompose_in_inductor(overload, _apart)


def _apart(x: Tensor, seed: Tensor, *arguments: Any) -> Tensor:
    fixed = all(isinstance(size, int) for size in x.shape) and x.numel() > 0
    if not fixed or _bound_for(x, arguments).counted_axes is not None:
        return _whole(x, seed, arguments)
    bound, strides = _bound_for(x, arguments), torch.empty_like(x).stride()
    order = sorted(range(x.dim()), key=lambda axis: -strides[axis])
    if not (bound.law.independent and bound.binding.count == x.numel()):
        kept = _by_mask(x, seed, arguments, order)
    elif gpu.known(x) and _in_order(bound, strides):
        kept = _by_bits(x, seed, arguments)
    else:
        return _whole(x, seed, arguments)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    scaled = (x.to(wide) * _scale(x, bound, arguments, wide)).to(x.dtype)
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    in_memory = kept.reshape([x.shape[axis] for axis in order])
    return torch.where(in_memory.permute(_inverse(order)), scaled, zero)


def _bound_for(x: Tensor, arguments: Any) -> BoundSpec | LocalSpec:
    return bound_at_any_rate(tuple(x.shape), *arguments[1:])


def _scale(
    x: Tensor, bound: BoundSpec | LocalSpec, arguments: Any, dtype: torch.dtype
) -> float | Tensor:
    """Return what kept values are multiplied by; a tensor where the rate is scheduled."""
    _, pattern, p, options = arguments
    if not isinstance(p, Tensor):
        return bound.expected
    scale: Tensor = torch.ops.mapdrop.scale(p, pattern, options, x.shape)
    return scale.to(dtype).to(x.device, non_blocking=True)


def _whole(x: Tensor, seed: Tensor, arguments: Any) -> Tensor:
    operation = overload_for(torch.ops.mapdrop.drop_whole, arguments[2])
    whole: Tensor = operation(x, seed, *arguments)
    return whole


def _by_mask(x: Tensor, seed: Tensor, arguments: Any, order: list[int]) -> Tensor:
    """Return which values are kept, with x's axes in the order of its memory."""
    # CPU code takes long to widen bytes; if each value has one, memory takes longer.
    small = _shape(_bound_for(x, arguments)) != list(x.shape)
    dtype = x.dtype if x.is_cpu and small else torch.bool
    operation = overload_for(torch.ops.mapdrop.mask, arguments[2])
    mask = operation(seed, *arguments, x.shape, order, dtype)
    # Compared at x's size: otherwise the result of the comparison would be stored.
    kept: Tensor = mask.expand([x.shape[axis] for axis in order]) != 0
    return kept


def _by_bits(x: Tensor, seed: Tensor, arguments: Any) -> Tensor:
    """Return which values are kept, in the order of x's memory."""
    bits = overload_for(torch.ops.mapdrop.bits, arguments[2])(seed, *arguments, x.shape)
    places = torch.arange(32, dtype=torch.int32, device=x.device)
    kept: Tensor = ((bits[:, None] >> places) & 1).reshape(-1)[: x.numel()] != 0
    return kept


def _in_order(bound: BoundSpec | LocalSpec, strides: tuple[int, ...]) -> bool:
    """Whether neighbours in memory have consecutive coins."""
    walk = memory_walk(bound.binding.ungrouped, strides, 1)
    return walk is not None and walk[1] == ((bound.binding.count, 1),)


def _mask(
    seed: Tensor,
    stream: str | None,
    pattern: str,
    p: Rate,
    options: str,
    shape: list[int],
    order: list[int],
    dtype: torch.dtype,
) -> Tensor:
    """Return 1 where x is kept, with x's axes in the order of its memory."""
    bound = bound_to(tuple(shape), pattern, p, options)
    made = _lined_up(_coins(seed, stream, bound), bound).to(dtype)
    return made.permute(order).contiguous()


def _bits(
    seed: Tensor, stream: str | None, pattern: str, p: Rate, options: str, shape: list[int]
) -> Tensor:
    """Return the coins in order, 32 in each int32, from the lowest bit on."""
    bound = bound_to(tuple(shape), pattern, p, options)
    if gpu.known(seed) and isinstance(bound, BoundSpec):
        return gpu.bits(seed, stream, bound)
    coins = _coins(seed, stream, bound).flatten().long()
    padded = torch.nn.functional.pad(coins, (0, -coins.numel() % 32)).view(-1, 32)
    return (padded << torch.arange(32, device=coins.device)).sum(1).to(torch.int32)


def _scale_at(p: Tensor, pattern: str, options: str, shape: list[int]) -> Tensor:
    """Return what kept values are multiplied by at the present rate."""
    return torch.full_like(p, bound_to(tuple(shape), pattern, p, options).expected)


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _coins(seed: Tensor, stream: str | None, bound: BoundSpec | LocalSpec) -> Tensor:
    if gpu.known(seed):
        return gpu.coins(seed, stream, bound)
    if not seed.is_cpu:
        return drawn(bound, seed, stream)[0]
    key, step = read_seed(seed, stream)
    return torch.from_numpy(cpu.drawn(bound, key, step, torch.get_num_threads())[0])


def _lined_up(coins: Tensor, bound: BoundSpec | LocalSpec) -> Tensor:
    """Return the coins along the array's axes; axes without coins have size 1."""
    ungrouped = bound.binding.ungrouped
    order, factors = ungrouped.lineup
    spread = [
        size if any(coin is not None for _, coin in part) else 1
        for part in ungrouped.axes
        for size, _ in part
    ]
    lined_up = repeated(coins, bound.binding).permute(order).reshape(factors).expand(spread)
    return lined_up.reshape(_shape(bound))


def _shape(bound: BoundSpec | LocalSpec) -> list[int]:
    ungrouped = bound.binding.ungrouped
    return [
        size if any(coin is not None for _, coin in part) else 1
        for size, part in zip(ungrouped.shape, ungrouped.axes, strict=True)
    ]


def _pretend(
    seed: Tensor,
    stream: str | None,
    pattern: str,
    p: Rate,
    options: str,
    shape: list[int],
    order: list[int],
    dtype: torch.dtype,
) -> Tensor:
    lasting = _shape(bound_at_any_rate(tuple(shape), pattern, p, options))
    return seed.new_empty([lasting[axis] for axis in order], dtype=dtype)


def _pretend_bits(
    seed: Tensor, stream: str | None, pattern: str, p: Rate, options: str, shape: list[int]
) -> Tensor:
    count = bound_at_any_rate(tuple(shape), pattern, p, options).binding.count
    return seed.new_empty(-(-count // 32), dtype=torch.int32)


for _overload in OVERLOADS:
    _library.impl(f"bits{_overload}", _bits, "CompositeExplicitAutograd")
    torch.library.register_fake(f"mapdrop::bits{_overload}", _pretend_bits, lib=_library)
    _library.impl(f"mask{_overload}", _mask, "CompositeExplicitAutograd")
    torch.library.register_fake(f"mapdrop::mask{_overload}", _pretend, lib=_library)
_library.impl("scale", _scale_at, "CompositeExplicitAutograd")
torch.library.register_fake("mapdrop::scale", lambda p, *_: torch.empty_like(p), lib=_library)

"""Eager code on the CPU: seed and step are numbers, and nothing goes through the dispatcher.

A network of many small drops pays for every call of Python here, so a spec remembers, for each
layout of a tensor, which kernel drops it and with which arguments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mapdrop import kernels
from mapdrop.backends import host
from mapdrop.backends.torch import law
from mapdrop.backends.torch.apply import broadcast, drop_into
from mapdrop.backends.torch.autodiff import dropped
from mapdrop.backends.torch.hugepages import huge_pages
from mapdrop.backends.torch.seeds import key_and_step, seed_words
from mapdrop.backends.torch.sharding import current, held
from mapdrop.backends.torch.text import Arguments, arguments, bound_locally
from mapdrop.spec import reference
from mapdrop.spec.local_spec import LocalSpec
from mapdrop.spec.mask_spec import BoundSpec, MaskSpec
from mapdrop.spec.sharding import Shard

# As what the kernels know each dtype.
_CARRIERS = {
    torch.float16: np.uint16,
    torch.bfloat16: np.int16,
    torch.float32: np.float32,
    torch.float64: np.float64,
}
_SMALL = 1 << 13  # Values up to which one thread that draws and applies is fastest.
_HALF, _ALL = 1 << 63, 1 << 64


def takes(x: Tensor) -> bool:
    """Whether x is a plain tensor on the CPU, and nobody watches or transforms what is done."""
    kind = type(x)
    return (
        (kind is Tensor or kind is nn.Parameter)
        and x.is_cpu
        and x.dtype in _CARRIERS
        and x.layout is torch.strided
        and not x.is_nested
        and not x.is_neg()
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
        and not torch.compiler.is_compiling()
    )


def drop(x: Tensor, spec: MaskSpec, seed: Any, stream: str | None, step: Any) -> Tensor:
    """Return x dropped, differentiable to any order; x is one that `takes` accepts."""
    shards = current()
    if shards:
        shards = held(x.dim())
    route = spec.memo.get((x.shape, x.stride(), x.dtype, shards)) or _route(x, spec, shards)
    if spec.p == 0:
        return x
    key, number = key_and_step(x, seed, stream, step)
    if x.requires_grad and torch.is_grad_enabled():
        made: Tensor = _Dropped.apply(x, route, key, number)
        return made
    return route.drop(x, key, number)


class Route:
    """How tensors of one shape, memory layout and dtype are dropped by one spec."""

    def __init__(self, x: Tensor, spec: MaskSpec, shards: tuple[Shard, ...]) -> None:
        self.spec, self.shards = spec, shards
        self.bound = bound_locally(spec, tuple(x.shape), shards)
        name = str(x.dtype).removeprefix("torch.")
        self.compiled = x.numel() > 0 and host.compiled(self.bound, name)
        self.small = _small(x, self.bound) if self.compiled else None

    def drop(self, x: Tensor, key: int, step: int) -> Tensor:
        """Return x dropped: a new tensor of the same memory layout."""
        out = torch.empty_like(x)
        if self.small is not None and (source := x.data_ptr()):  # Memory that is given back has 0.
            kernel, *fixed = self.small
            signed = key if key < _HALF else key - _ALL, step if step < _HALF else step - _ALL
            kernel(source, out.data_ptr(), *signed, *fixed)
            return out
        if self.compiled:
            drop_into(huge_pages(out), x, self.bound, key, step)
            return out
        words = seed_words(x, key, step)
        return broadcast(x, self.bound.binding, *law.drawn(self.bound, words, None))

    def arguments(self) -> Arguments:
        """Return the operation's arguments, for what goes through the dispatcher after all."""
        return arguments(self.spec, None, self.shards)


def _route(x: Tensor, spec: MaskSpec, shards: tuple[Shard, ...]) -> Route:
    route = Route(x, spec, shards)
    spec.remember(spec.memo, (x.shape, x.stride(), x.dtype, shards), route)
    return route


def _small(x: Tensor, bound: BoundSpec | LocalSpec) -> tuple[Any, ...] | None:
    """Return a kernel for few values, and its arguments after addresses, key and step.

    None where the values are many, or do not lie in memory as runs of equal coins in order.
    """
    fast = kernels.for_small()
    if fast is None or x.numel() > _SMALL or bound.counted_axes is not None or bound.first != 0:
        return None
    carrier = np.empty(0, _CARRIERS[x.dtype])
    strides = tuple(n * carrier.itemsize for n in x.stride())
    walk = host.memory_walk(bound.binding.whole, strides, carrier.itemsize)
    count = bound.binding.count
    if walk is None or not bound.law.independent or bound.binding.whole.count != count:
        return None
    run = x.numel() // count
    if walk[1] not in (((count, 1),), ((count, 1), (run, 0)), ((1, 0), (run, 0)), ((run, 0),)):
        return None
    limit = reference.threshold(bound.law.p)
    wide = np.float64 if x.dtype == torch.float64 else np.float32
    return fast.drop, count, run, limit, np.array([bound.expected], wide), carrier


class _Dropped(torch.autograd.Function):
    """Keeps two numbers: the gradient is dropped by the same mask, which is drawn again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, route: Route, key: int, step: int) -> Tensor:
        ctx.route, ctx.key, ctx.step = route, key, step
        return route.drop(x, key, step)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _again(grad, ctx.route, ctx.key, ctx.step), None, None, None


def _again(x: Tensor, route: Route, key: int, step: int) -> Tensor:
    """Return x dropped by the mask of an earlier drop."""
    if not takes(x):
        return dropped(x, seed_words(x, key, step), route.arguments())
    layout = x.shape, x.stride(), x.dtype, route.shards
    own = route.spec.memo.get(layout) or _route(x, route.spec, route.shards)
    if x.requires_grad and torch.is_grad_enabled():
        again: Tensor = _Dropped.apply(x, own, key, step)
        return again
    return own.drop(x, key, step)

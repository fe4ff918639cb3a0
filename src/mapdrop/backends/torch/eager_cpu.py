"""Eager code on the CPU: seed and step are numbers, and nothing goes through the dispatcher.

A network of many small drops pays for every call of Python here, so a spec remembers, for each
layout of a tensor, which kernel drops it and with which arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.backends import cpu
from mapdrop.backends.small_drop import SmallDrop, small_drop
from mapdrop.backends.torch._internals import (
    direct_apply,
    dispatch_modes,
    forward_level,
    function_transforms,
    function_wrapped,
    has_storage,
    is_tracing,
)
from mapdrop.backends.torch.apply import broadcast, check_writable, drop_into
from mapdrop.backends.torch.autodiff import dropped
from mapdrop.backends.torch.coins import drawn
from mapdrop.backends.torch.hugepages import huge_pages
from mapdrop.backends.torch.seeds import key_and_step, seed_tensor
from mapdrop.backends.torch.sharding import current_in_eager_code, held
from mapdrop.backends.torch.text import Arguments, arguments
from mapdrop.spec.local_spec import LocalSpec, bound_locally
from mapdrop.spec.mask_spec import BoundSpec, MaskSpec
from mapdrop.spec.sharding import Shard
from mapdrop.spec.warn import warn_user

_DTYPES = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))


def takes(x: Tensor) -> bool:
    """Whether x is a plain tensor on the CPU and no mode or transform is active."""
    kind = type(x)
    return (
        (kind is Tensor or kind is nn.Parameter)
        and x.is_cpu
        and x.dtype in _DTYPES
        and x.layout is torch.strided
        and has_storage(x)
        and not x.is_nested
        and not x.is_neg()
        and dispatch_modes() == 0
        and not is_tracing()
        and not function_transforms()
        and not function_wrapped(x)
        and forward_level() < 0
        and not torch.compiler.is_compiling()
    )


def drop(
    x: Tensor, spec: MaskSpec, seed: Any, stream: str | None, step: Any, inplace: bool = False
) -> Tensor:
    """Return x dropped, differentiable to any order; x itself, if it is done in place.

    x is one that `takes` accepts.
    """
    shards = current_in_eager_code()
    if shards:
        shards = held(x.dim())
    route = spec.memo.get((x.shape, x.stride(), x.dtype, shards)) or _route(x, spec, shards)
    if route.warning:
        warn_user(route.warning)
    if spec.p == 0:
        return x
    key, number = key_and_step(x, seed, stream, step)
    if inplace:
        check_writable(x)
        written = _mark_written(x, _Drawn(route, key, number))
        route.drop_in_place(x.detach(), key, number)
        return written
    if x.requires_grad and torch.is_grad_enabled():
        return _apply(x, _Drawn(route, key, number))
    return route.drop(x, key, number)


class Route:
    """How tensors of one shape, memory layout and dtype are dropped by one spec."""

    spec: MaskSpec
    shards: tuple[Shard, ...]

    def __init__(self, x: Tensor, spec: MaskSpec, shards: tuple[Shard, ...]) -> None:
        self.spec, self.shards = spec, shards
        self.bound: BoundSpec | LocalSpec = bound_locally(spec, tuple(x.shape), shards, warn=False)
        whole = self.bound.bound if isinstance(self.bound, LocalSpec) else self.bound
        self.warning: str = whole.warning  # For every call, as Python shows it once a line.
        name = str(x.dtype).removeprefix("torch.")
        self.compiled: bool = x.numel() > 0 and cpu.compiled(self.bound, name)
        self.small: SmallDrop | None = small_drop(
            self.bound, tuple(n * x.itemsize for n in x.stride()), name
        )

    def drop(self, x: Tensor, key: int, step: int) -> Tensor:
        """Return x dropped: a new tensor of the same memory layout."""
        out = torch.empty_like(x)
        if self.small is not None and (source := x.data_ptr()):  # Memory that is given back has 0.
            self.small(source, out.data_ptr(), key, step)
            return out
        if self.compiled:
            drop_into(huge_pages(out), x, self.bound, key, step)
            return out
        words = seed_tensor(x, key, step)
        return broadcast(x, self.bound.binding, *drawn(self.bound, words, None))

    def drop_in_place(self, x: Tensor, key: int, step: int) -> None:
        """Drop x itself."""
        if self.small is not None and (memory := x.data_ptr()):
            self.small(memory, memory, key, step)
        elif self.compiled:
            drop_into(x, x, self.bound, key, step)
        else:
            x.copy_(self.drop(x, key, step))

    def arguments(self) -> Arguments:
        """Return the same drop as arguments of the dispatcher's operation."""
        return arguments(self.spec, None, self.shards)


def _route(x: Tensor, spec: MaskSpec, shards: tuple[Shard, ...]) -> Route:
    route = Route(x, spec, shards)
    spec.remember(spec.memo, (x.shape, x.stride(), x.dtype, shards), route)
    return route


class _Drawn:
    """A route and two numbers, which PyTorch's profiler does not read: it reads ints below 2^63."""

    __slots__ = ("key", "route", "step")

    def __init__(self, route: Route, key: int, step: int) -> None:
        self.route, self.key, self.step = route, key, step


class _Dropped(torch.autograd.Function):
    """Save two numbers; backward draws the mask again from them and drops the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, drawn: _Drawn) -> Tensor:
        ctx.drawn = drawn
        return drawn.route.drop(x, drawn.key, drawn.step)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        route, key, step = ctx.drawn.route, ctx.drawn.key, ctx.drawn.step
        if not takes(grad):
            words = seed_tensor(grad, key, step)
            return dropped(grad, words, route.arguments()), None
        layout = grad.shape, grad.stride(), grad.dtype, route.shards
        own = route.spec.memo.get(layout) or _route(grad, route.spec, route.shards)
        if grad.requires_grad and torch.is_grad_enabled():
            return _apply(grad, _Drawn(own, key, step)), None
        return own.drop(grad, key, step), None


class _Written(_Dropped):
    """Mark x as changed, so that PyTorch refuses what must not be written before it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, drawn: _Drawn) -> Tensor:
        ctx.drawn = drawn
        ctx.mark_dirty(x)
        return x


_apply: Callable[..., Tensor] = direct_apply(_Dropped)  # `takes` has looked for transforms.
_mark_written: Callable[..., Tensor] = direct_apply(_Written)

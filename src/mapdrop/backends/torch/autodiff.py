"""Dropping as an operation of PyTorch's: one linear step, which is its own derivative.

`mapdrop::drop` is what torch.compile, torch.export, fake tensors and tensor subclasses see: one
opaque step. Eager code goes around the dispatcher, which would cost a small tensor more than its
dropping does. Nothing but the seed is saved for backward: the gradient is dropped by the same
operation, which makes the same mask again. (Inductor is taught better, in `inductor`.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.backends.torch._internals import (
    dispatch_modes,
    inductor_imported,
    is_tracing,
    transformed,
)
from mapdrop.backends.torch.apply import (
    bound_for,
    check_writable,
    drop_anywhere,
    drop_bound,
    drop_values,
    drop_values_in_place,
)
from mapdrop.backends.torch.generator import fresh, fresh_seed
from mapdrop.backends.torch.inductor import teach_inductor
from mapdrop.backends.torch.rate import OVERLOADS, READS_RATE, overload_for
from mapdrop.backends.torch.text import Arguments
from mapdrop.spec.binding import bind
from mapdrop.spec.local_spec import LocalSpec
from mapdrop.spec.mask_spec import check_rate
from mapdrop.spec.pattern import Pattern

_library = torch.library.Library("mapdrop", "DEF")
for _overload, (_type, _tags) in OVERLOADS.items():
    _rest = f"Tensor seed, str? stream, str pattern, {_type} p, str options) -> Tensor"
    _library.define(f"drop{_overload}(Tensor x, {_rest}", tags=_tags)
    _library.define(f"drop_whole{_overload}(Tensor x, {_rest}", tags=_tags)
_RANDOM = (torch.Tag.nondeterministic_seeded,)
_library.define("fresh_seed(Tensor like) -> Tensor", tags=_RANDOM)
_library.define(
    "fresh_seed.scheduled(Tensor like, Tensor rate) -> Tensor", tags=(*_RANDOM, *READS_RATE)
)


def dropped(x: Tensor, seed: Tensor, arguments: Arguments) -> Tensor:
    """Return x dropped, differentiable to any order."""
    if torch.compiler.is_compiling() or not _plain(x):
        traced: Tensor = overload_for(torch.ops.mapdrop.drop, arguments[2])(x, seed, *arguments)
        return traced
    if transformed():
        result: Tensor = _Transformed.apply(x, seed, arguments)
        return result
    if x.requires_grad and torch.is_grad_enabled():
        tracked: Tensor = _Eager.apply(x, seed, arguments, False)
        return tracked
    return drop_values(x, seed, *arguments)


def dropped_part(x: Tensor, seed: Tensor, stream: str | None, bound: LocalSpec) -> Tensor:
    """Return x dropped as a part of a larger array, in eager code, differentiable to any order."""
    result: Tensor = _Part.apply(x, seed, stream, bound)
    return result


def dropped_in_place(x: Tensor, seed: Tensor, arguments: Arguments) -> Tensor:
    """Drop x in place and return it."""
    if torch.compiler.is_compiling() or not _plain(x) or transformed():
        return x.copy_(dropped(x, seed, arguments))
    check_writable(x)
    bound_for(x, arguments)  # For its checks.
    written: Tensor = _Eager.apply(x, seed, arguments, True)
    drop_values_in_place(x.detach(), seed, *arguments)
    return written


def _plain(x: Tensor) -> bool:
    """Whether x is a tensor with values, and nobody writes down what is done to it."""
    watched = dispatch_modes() > 0 or is_tracing()
    return type(x) in (Tensor, nn.Parameter) and not x.is_meta and not watched


class _Eager(torch.autograd.Function):
    """Eager code, past the dispatcher.

    In place it only marks x as changed: PyTorch refuses what must not be, before it is written.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: Tensor, arguments: Arguments, inplace: bool) -> Tensor:
        ctx.save_for_backward(seed)
        ctx.arguments = arguments
        if not inplace:
            return drop_values(x, seed, *arguments)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (seed,) = ctx.saved_tensors
        return dropped(grad, seed, ctx.arguments), None, None, None


class _Part(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: Tensor, stream: str | None, bound: LocalSpec) -> Tensor:
        ctx.save_for_backward(seed)
        ctx.stream, ctx.bound = stream, bound
        return drop_bound(x, seed, stream, bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (seed,) = ctx.saved_tensors
        return dropped_part(grad, seed, ctx.stream, ctx.bound), None, None, None


class _Transformed(torch.autograd.Function):
    """For torch.func and forward mode, which need `setup_context`, `jvp` and `vmap`."""

    @staticmethod
    def forward(x: Tensor, seed: Tensor, arguments: Arguments) -> Tensor:
        operation = overload_for(torch.ops.mapdrop.drop, arguments[2])
        dropped: Tensor = operation(x, seed, *arguments)
        return dropped

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, seed, ctx.arguments = inputs
        ctx.save_for_backward(seed)
        ctx.save_for_forward(seed)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Transformed.apply(grad, *ctx.saved_tensors, ctx.arguments), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        moved: Tensor = _Transformed.apply(tangent, *ctx.saved_tensors, ctx.arguments)
        return moved

    @staticmethod
    def vmap(
        info: Any, dims: Any, x: Tensor, seed: Tensor, arguments: Arguments
    ) -> tuple[Tensor, int]:
        return _over_examples(info, dims, x, seed, *arguments)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, seed, ctx.stream, ctx.pattern, p, ctx.options = inputs
    ctx.save_for_backward(seed, p if isinstance(p, Tensor) else None)
    ctx.p = None if isinstance(p, Tensor) else p


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    seed, scheduled = ctx.saved_tensors
    p = ctx.p if scheduled is None else scheduled
    operation = overload_for(torch.ops.mapdrop.drop, p)
    dropped = operation(grad, seed, ctx.stream, ctx.pattern, p, ctx.options)
    return dropped, None, None, None, None, None


def _over_examples(
    info: Any, dims: tuple[int | None, ...], x: Tensor, seed: Tensor, *arguments: Any
) -> tuple[Tensor, int]:
    """Drop under vmap: one seed gives all examples one mask, a seed for each its own."""
    at, seed_at = dims[:2]
    moved = x.expand(info.batch_size, *x.shape) if at is None else x.movedim(at, 0)

    def operation(x: Tensor, seed: Tensor, *arguments: Any) -> Tensor:
        dropped: Tensor = _Transformed.apply(x, seed, arguments)
        return dropped

    if seed_at is None:
        stream, pattern, *rest = arguments
        stacked = Pattern.parse(pattern).over_examples().text
        return operation(moved, seed, stream, stacked, *rest), 0
    each = seed.movedim(seed_at, 0)
    examples = zip(moved.unbind(), each.unbind(), strict=True)
    return torch.stack([operation(one, own, *arguments) for one, own in examples]), 0


def _fresh_seed(like: Tensor, rate: Tensor | None = None) -> Tensor:
    """Return a number from PyTorch's generator; for a call that drops nothing draw none."""
    if rate is not None and rate == 0:
        return torch.zeros(1, dtype=torch.int64, device=like.device)
    return fresh(like.device)


def _fresh_over_examples(info: Any, dims: tuple[int | None, ...], *given: Tensor) -> Any:
    if info.randomness == "error":
        raise RuntimeError(
            "vmap: a dropped mask is random; call vmap with randomness='different' or 'same'"
        )
    if info.randomness == "same":
        return fresh_seed(*given), None
    return torch.stack([fresh_seed(*given) for _ in range(info.batch_size)]), 0


def _pretend(x: Tensor, seed: Tensor, *arguments: Any) -> Tensor:
    """Check what needs no values, and return an empty result of the right layout."""
    if inductor_imported():
        teach_inductor()
    _, pattern, p, *_ = arguments
    if not isinstance(p, Tensor):
        check_rate(p)
    parsed = Pattern.parse(pattern)
    if None not in parsed.left and len(parsed.left) != x.dim():
        bind(parsed, (1,) * x.dim())  # Raises the error for a wrong rank.
    return torch.empty_like(x)


for _overload in OVERLOADS:
    for _name in (f"drop{_overload}", f"drop_whole{_overload}"):
        _library.impl(_name, drop_values, "CPU")
        _library.impl(_name, drop_values, "CUDA")
        _library.impl(_name, drop_anywhere, "CompositeExplicitAutograd")
        torch.library.register_fake(f"mapdrop::{_name}", _pretend, lib=_library)
    _name = f"mapdrop::drop{_overload}"
    torch.library.register_autograd(_name, _backward, setup_context=_remember, lib=_library)
    torch.library.register_vmap(_name, _over_examples, lib=_library)
    _name = f"mapdrop::fresh_seed{_overload}"
    _library.impl(_name, _fresh_seed, "CompositeExplicitAutograd")
    torch.library.register_fake(
        _name, lambda like, rate=None: like.new_empty((1,), dtype=torch.int64), lib=_library
    )
    torch.library.register_vmap(_name, _fresh_over_examples, lib=_library)

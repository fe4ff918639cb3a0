"""The samples that a residual branch runs for, and what their results are multiplied by.

Eager code on the CPU counts them. Compiled code, and a device that would have to be waited for,
need a number that is known: where `exact` or `balance` says how many are kept at most, the
operation `mapdrop::kept_rows` returns so many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mapdrop.backends.torch._internals import constant, direct_apply, transformed
from mapdrop.backends.torch.apply import drop_values
from mapdrop.backends.torch.text import Arguments, arguments, bound_to, read_spec
from mapdrop.spec.local_spec import bound_locally
from mapdrop.spec.mask_spec import TIES
from mapdrop.spec.symbolic import bind_symbolic

_library = torch.library.Library("mapdrop", "FRAGMENT")
_library.define(
    "kept_rows(Tensor seed, str? stream, str pattern, float p, str options, SymInt[] shape)"
    " -> (Tensor, Tensor)"
)


def counted(options: str) -> bool:
    """Return whether a spec, by its options as text, says how many samples are kept at most."""
    return options.startswith(tuple([f"{name}=" for name in TIES]))


@constant
def check_rows(pattern: str, options: str) -> None:
    """Raise PatternError unless a pattern drops whole samples."""
    _ = read_spec(pattern, 0.5, options)[0].rows


def kept_rows(
    seed: Tensor, given: Arguments, shape: tuple[int, ...], known: bool
) -> tuple[Tensor, Tensor]:
    """Return the indices of the samples to run a branch for, and the factor of each.

    Where their number has to be `known`, some may be copies of the first kept one, with factor 0.
    """
    if known:
        first, each = torch.ops.mapdrop.kept_rows(seed, *given, shape)
        return first, each
    factors = _factors(seed, *given, shape)
    kept = factors.nonzero().flatten()
    return kept, factors.index_select(0, kept)


def factor_dtype(device: torch.device) -> torch.dtype:
    """Return the type of the factors on a device: the widest that it has."""
    return torch.float32 if device.type == "mps" else torch.float64


def padded(kept: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the kept samples and, up to `most`, others; and which are kept.

    The others are copies of the first kept one, and not dropped ones: if the branch makes infinity
    of one of those, its gradient would be NaN, though nothing of its result is used. If none is
    kept, there is no other choice.
    """
    first = (~kept).to(torch.uint8).argsort(stable=True)[:most]
    valid = kept.index_select(0, first)
    return torch.where(valid, first, first[:1]), valid


def scaled(x: Tensor, factors: Tensor, known: bool) -> Tensor:
    """Return x times a factor for each index of its first axis, and 0 where that is 0."""
    wide = torch.float64 if x.dtype in (torch.float64, torch.complex128) else torch.float32
    each = factors.to(wide).reshape(-1, *[1] * (x.dim() - 1))
    product = ((x if x.is_complex() else x.to(wide)) * each).to(x.dtype)
    return torch.where(each != 0, product, torch.zeros_like(product)) if known else product


def take_rows(x: Tensor, axis: int, rows: Tensor) -> Tensor:
    """Return some of the indices of an axis. The memory layout stays, also of the gradient."""
    if x.is_contiguous():
        return x.index_select(axis, rows)
    order = _memory_order(x)
    taken = x.permute(order).index_select(order.index(axis), rows)
    return taken.permute(_inverse(order))


def add_rows(x: Tensor, axis: int, rows: Tensor, y: Tensor, factor: float = 1.0) -> Tensor:
    """Return x with `factor * y` added to some of the indices of an axis.

    The memory layout stays, also of the gradients. PyTorch's own `index_add` makes every result
    contiguous, so that what follows runs in another layout than it was written for; in eager code
    it also keeps y until the backward pass, whose shape is all that it needs.
    """
    if torch.compiler.is_compiling() or transformed():
        return x.index_add(axis, rows, y, alpha=factor)
    if x.is_contiguous():
        return _apply(x, axis, rows, y, factor)
    order = _memory_order(x)
    total = _apply(x.permute(order), order.index(axis), rows, y.permute(order), factor)
    return total.permute(_inverse(order))


def spread_rows(y: Tensor, axis: int, rows: Tensor, size: int) -> Tensor:
    """Return zeros with y at some of the `size` indices of an axis, in the memory layout of y."""
    order = _memory_order(y)
    sizes = [size if a == axis else y.shape[a] for a in order]
    return add_rows(y.new_zeros(sizes).permute(_inverse(order)), axis, rows, y)


def empty_rows(x: Tensor, axis: int, size: int) -> Tensor:
    """Return an array without values that is like another, but for the size of an axis."""
    order = _memory_order(x)
    sizes = [size if a == axis else x.shape[a] for a in order]
    return x.new_empty(sizes).permute(_inverse(order))


def cat_rows(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Return arrays side by side along an axis. The memory layout is that of the first."""
    order = _memory_order(parts[0])
    joined = torch.cat([part.permute(order) for part in parts], order.index(axis))
    return joined.permute(_inverse(order))


def laid_out(x: Tensor, like: Tensor) -> Tensor:
    """Return x in the memory layout of an array with as many axes."""
    if x.is_contiguous() and like.is_contiguous():
        return x
    order = _memory_order(like)
    if order == _memory_order(x):
        return x
    return x.permute(order).contiguous().permute(_inverse(order))


def _memory_order(x: Tensor) -> list[int]:
    """Return the axes from the outermost in memory to the innermost.

    An axis of one index, or along which x was expanded, has no place in memory: it stays where it
    is.
    """
    placed = [axis for axis, step in enumerate(x.stride()) if step and x.shape[axis] > 1]
    order = iter(sorted(placed, key=x.stride, reverse=True))
    return [next(order) if axis in placed else axis for axis in range(x.dim())]


def _inverse(order: list[int]) -> list[int]:
    return [order.index(axis) for axis in range(len(order))]


class _AddRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, rows: Tensor, y: Tensor, factor: float) -> Tensor:
        ctx.axis, ctx.rows, ctx.factor = axis, rows, factor
        return x.index_add(axis, rows, y, alpha=factor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        of_y = take_rows(gradient, ctx.axis, ctx.rows) if ctx.needs_input_grad[3] else None
        if of_y is not None and ctx.factor != 1:
            of_y = of_y * ctx.factor
        return gradient, None, None, of_y, None


_apply: Callable[..., Tensor] = direct_apply(_AddRows)  # `add_rows` has looked for transforms.


@lru_cache(maxsize=1024)
def _of_rows(
    pattern: str, p: float, options: str, shape: tuple[int | None, ...]
) -> tuple[str, float, str]:
    """Return the spec of the first axis alone, for a vector, as text; of its shards those.

    Raises PatternError where it does not fit x, of this shape; None is a size that is not known.
    """
    spec, shards = read_spec(pattern, p, options)
    known = tuple([n for n in shape if n is not None])
    if not shards:
        bind_symbolic(spec, shape)
    elif len(known) == len(shape):
        bound_locally(spec, known, shards, warn=False)
    own = [replace(shard, dim=-1) for shard in shards if shard.dim == -len(shape)]
    return arguments(spec.rows, None, tuple(own))[1:]


def _factors(
    seed: Tensor, stream: str | None, pattern: str, p: float, options: str, shape: Sequence[int]
) -> Tensor:
    """Return a factor for each sample, float64: 0 where it is dropped."""
    samples = torch.ones(shape[0], dtype=factor_dtype(seed.device), device=seed.device)
    return drop_values(samples, seed, stream, *_of_rows(pattern, p, options, tuple(shape)))


def _most(pattern: str, p: float, options: str, shape: Sequence[Any]) -> int:
    """Return the largest number of samples kept; of a shard, all of it may be."""
    samples = int(shape[0])
    known = (samples, *[n if isinstance(n, int) else None for n in shape[1:]])
    return min(samples, bound_to((samples,), *_of_rows(pattern, p, options, known)).most)


def _kept_rows(
    seed: Tensor, stream: str | None, pattern: str, p: float, options: str, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    factors = _factors(seed, stream, pattern, p, options, shape)
    most = _most(pattern, p, options, shape)
    first, valid = padded(factors != 0, most)
    return first, torch.where(valid, factors.index_select(0, first), 0)


def _pretend(
    seed: Tensor, stream: str | None, pattern: str, p: float, options: str, shape: Sequence[Any]
) -> tuple[Tensor, Tensor]:
    """Check what needs no values, and return empty results. The number of samples gets fixed."""
    most = _most(pattern, p, options, shape)
    return seed.new_empty(most), seed.new_empty(most, dtype=factor_dtype(seed.device))


def _over_examples(info: Any, dims: tuple[int | None, ...], seed: Tensor, *given: Any) -> Any:
    """Give all examples under vmap one mask, by their one seed. Raises RuntimeError for several."""
    if dims[0] is not None:
        raise RuntimeError(
            "mapdrop.residual under torch.compile takes one seed for all examples of vmap: call it "
            "in eager code, or add mapdrop.drop(branch(x), ...) to x"
        )
    return torch.ops.mapdrop.kept_rows(seed, *given), (None, None)


_library.impl("kept_rows", _kept_rows, "CompositeExplicitAutograd")
torch.library.register_fake("mapdrop::kept_rows", _pretend, lib=_library)
torch.library.register_vmap("mapdrop::kept_rows", _over_examples, lib=_library)

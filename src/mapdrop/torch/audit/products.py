"""Products: the operations by which masks drop, and how each is done again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mapdrop.backends.torch import drop as own_drop
from mapdrop.backends.torch.text import read_spec
from mapdrop.torch.audit.masks import Masks, name_of

Draw = Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Product:
    """A drop of a tensor.

    Attributes:
        source: what it drops from.
        draw: draws a mask: its values, and which are kept; it fits the source by broadcasting.
        apply: drops from a tensor as the model did, by a new mask.
        law: two drops with equal laws draw masks alike.
        axes: the axes of the source along which values have coins of their own.
        independent: how many parts of a mask are certainly independent of each other.
    """

    source: Tensor
    draw: Draw
    apply: Callable[[Tensor], Tensor]
    law: Any
    axes: tuple[int, ...]
    independent: int = 1


def product(function: Any, args: Any, masks: Masks) -> Product | None:
    """Return what a call drops; None if it drops nothing, or not from data."""
    name = name_of(function)
    if str(function).startswith("mapdrop.drop"):
        found = _own(*args)
    elif name == "native_dropout" and args[2] is not False:
        found = _native(function, *args[:2])
    elif name in _BY_MASK:
        return _by_mask(name, args, masks)
    else:
        return None
    return None if masks.is_free(found.source) else found


def _own(x: Tensor, seed: Tensor, stream: Any, pattern: str, p: float, options: str) -> Product:
    spec, _ = read_spec(pattern, p, options)

    def apply(x: Tensor) -> Tensor:
        return own_drop(x, spec)

    parts = enumerate(spec.bind(tuple(x.shape)).binding.axes)
    axes = [axis for axis, inside in parts if any(coin is not None for _, coin in inside)]
    return _whole(x, apply, ("mapdrop", pattern, p, options), axes)


def _native(function: Any, x: Tensor, p: float) -> Product:
    def apply(x: Tensor) -> Tensor:
        result: Tensor = function(x, p, True)[0]
        return result

    return _whole(x, apply, ("native_dropout", p), range(x.dim()))


def _whole(
    x: Tensor, apply: Callable[[Tensor], Tensor], law: tuple[Any, ...], axes: Iterable[int]
) -> Product:
    """Return a drop whose mask is seen only by what becomes of ones."""
    shape, dtype, device = tuple(x.shape), x.dtype, x.device

    def draw() -> tuple[Tensor, Tensor]:
        mask = apply(torch.ones(shape, dtype=dtype, device=device))
        return mask, mask != 0

    wide = tuple(axis for axis in axes if shape[axis] > 1)
    return Product(x, draw, apply, (*law, shape, dtype, device), wide)


def _by_mask(name: str, args: Any, masks: Masks) -> Product | None:
    """Return what a product of data with a mask drops, or a choice by a mask between them and 0."""
    found = _BY_MASK[name](masks, *args)
    if found is None:
        return None
    source, mask, kept, combine = found
    if masks.is_free(source) or not masks.is_random(mask):
        return None
    program = masks.program(mask)
    before = source.dim() - mask.dim()  # Axes that the mask has not.
    own = [size > 1 and step > 0 for size, step in zip(mask.shape, mask.stride(), strict=True)]
    axes = tuple(axis + before for axis, varies in enumerate(own) if varies)

    def draw() -> tuple[Tensor, Tensor]:
        values = program()
        return values, kept(values)

    def apply(x: Tensor) -> Tensor:
        result: Tensor = combine(x, program())
        return result

    return Product(source, draw, apply, (name, program.law), axes, program.independent)


def _mul(masks: Masks, a: Any, b: Any) -> Any:
    source, mask = (b, a) if isinstance(a, Tensor) and masks.is_random(a) else (a, b)
    if not (isinstance(source, Tensor) and isinstance(mask, Tensor)):
        return None
    return source, mask, lambda m: m != 0, torch.mul


def _masked_fill(masks: Masks, x: Tensor, mask: Tensor, value: Any) -> Any:
    if value != 0:
        return None
    return x, mask, torch.logical_not, lambda x, m: x.masked_fill(m, 0)


def _where(masks: Masks, condition: Tensor, a: Any, b: Any) -> Any:
    if _is_zero(masks, b) and isinstance(a, Tensor):
        return a, condition, lambda m: m, lambda x, m: torch.where(m, x, 0)
    if _is_zero(masks, a) and isinstance(b, Tensor):
        return b, condition, torch.logical_not, lambda x, m: torch.where(m, 0, x)
    return None


def _is_zero(masks: Masks, value: Any) -> bool:
    if isinstance(value, Tensor):
        return masks.is_free(value) and not masks.is_random(value) and not bool(value.any())
    return bool(value == 0)


_BY_MASK: dict[str, Callable[..., Any]] = {
    "mul": _mul,
    "masked_fill": _masked_fill,
    "where": _where,
}

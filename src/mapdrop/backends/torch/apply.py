"""Apply masks to tensors, by compiled kernels or by plain operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mapdrop.backends import cpu
from mapdrop.backends.torch import gpu
from mapdrop.backends.torch._internals import has_storage
from mapdrop.backends.torch.coins import drawn, repeated
from mapdrop.backends.torch.hugepages import huge_pages
from mapdrop.backends.torch.seeds import read_seed
from mapdrop.backends.torch.text import Arguments, bound_to
from mapdrop.spec.local_spec import LocalSpec
from mapdrop.spec.mask_spec import BoundSpec


def bound_for(x: Tensor, arguments: Arguments) -> BoundSpec | LocalSpec:
    """Return the checked spec of the operation's arguments, bound to x."""
    return bound_to(tuple(x.shape), *arguments[1:])


def drop_values(x: Tensor, seed: Tensor, *arguments: Any) -> Tensor:
    """Return x dropped: a new tensor of the same memory layout."""
    return drop_bound(x, seed, arguments[0], bound_for(x, arguments))


def drop_bound(x: Tensor, seed: Tensor, stream: str | None, bound: BoundSpec | LocalSpec) -> Tensor:
    """Return x dropped by a spec that is bound to its shape."""
    if gpu.fits(x, bound):
        made = gpu.drop(x, seed, stream, bound)
        if made is not None:
            return made
    if not _compiled(x, bound):
        return broadcast(x, bound.binding, *drawn(bound, seed, stream))
    out = huge_pages(torch.empty_like(x))
    drop_into(out, x, bound, *read_seed(seed, stream))
    return out


def check_writable(x: Tensor) -> None:
    """Raise RuntimeError if several of x's values may have one place in memory."""
    if not x.is_contiguous() and cpu.overlapping(x.shape, x.stride()):
        raise RuntimeError(
            "inplace=True would write one value for several: the tensor was expanded, or its "
            "values share memory in another way; x.clone() has memory of its own"
        )


def drop_values_in_place(x: Tensor, seed: Tensor, *arguments: Any) -> None:
    """Drop x in place."""
    bound = bound_for(x, arguments)
    if gpu.fits(x, bound) and gpu.drop_in_place(x, seed, arguments[0], bound):
        return
    if _compiled(x, bound):
        drop_into(x, x, bound, *read_seed(seed, arguments[0]))
    else:
        x.copy_(drop_values(x, seed, *arguments))


def _compiled(x: Tensor, bound: BoundSpec | LocalSpec) -> bool:
    name = str(x.dtype).removeprefix("torch.")
    in_memory = x.is_cpu and x.numel() > 0 and has_storage(x) and not x.is_neg()
    return in_memory and cpu.compiled(bound, name)


def drop_anywhere(x: Tensor, seed: Tensor, *arguments: Any) -> Tensor:
    """Return x dropped by plain tensor operations, on any device."""
    bound = bound_for(x, arguments)
    return broadcast(x, bound.binding, *drawn(bound, seed, arguments[0]))


def broadcast(x: Tensor, binding: Any, coins: Tensor, scale: float | Tensor) -> Tensor:
    """Return x times the scale where the coins keep it, and 0 elsewhere."""
    ungrouped = binding.ungrouped
    order, lined_up = ungrouped.lineup
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    kept = repeated(coins, binding).permute(order).reshape(lined_up)
    if isinstance(scale, Tensor):
        per_coin = scale.to(x.device, wide).expand(coins.shape)
        factor = repeated(per_coin, binding).permute(order).reshape(lined_up)
    else:
        factor = torch.full((), scale, dtype=wide, device=x.device)
    values = (x.to(wide).reshape(ungrouped.factors) * factor).to(x.dtype)
    dropped = torch.where(kept, values, torch.zeros((), dtype=x.dtype, device=x.device))
    return torch.empty_like(x).copy_(dropped.reshape(x.shape))


def drop_into(out: Tensor, x: Tensor, bound: BoundSpec | LocalSpec, key: int, step: int) -> None:
    """Set out to x dropped, by the compiled kernels; out may be x."""
    source = _numpy(x)
    target = source if out is x else _numpy(out)
    cpu.drop_into(target, source, bound, key, step, torch.get_num_threads())


def _numpy(x: Tensor) -> Any:
    """Return the tensor's memory as NumPy has it; 16-bit floats as integers of the same bits."""
    raw = x.detach()
    if x.dtype == torch.bfloat16:
        return raw.view(torch.int16).numpy()
    if x.dtype == torch.float16:
        return raw.view(torch.int16).numpy().view("uint16")
    return raw.numpy()

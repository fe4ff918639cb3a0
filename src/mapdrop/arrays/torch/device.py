"""Dropping in a GPU's memory by the compiled kernels; the host is never waited for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mapdrop import coins as spec
from mapdrop import kernels
from mapdrop.arrays.host import Loops, memory_walk
from mapdrop.arrays.torch import coins as plain
from mapdrop.part import Part
from mapdrop.plan import Plan

_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def fits(x: Tensor, asked: Plan | Part) -> bool:
    """Whether the kernels can do it: a GPU that Triton knows, the dtype, one scale for all."""
    return (
        x.is_cuda and x.numel() > 0 and x.dtype in _DTYPES
        and asked.measured is None and kernels.for_gpu() is not None
    )  # fmt: skip


def drop(x: Tensor, seed: Tensor, stream: str | None, asked: Plan | Part) -> Tensor | None:
    """x dropped: a new tensor of the same layout; None where its memory has too many loops."""
    out = torch.empty_like(x)
    path = _path(out, asked)
    if path is None:
        return None
    source = x
    if x.stride() != out.stride():
        source = out.copy_(x)
    _into(out, source, seed, stream, asked, path)
    return out


def drop_in_place(x: Tensor, seed: Tensor, stream: str | None, asked: Plan | Part) -> bool:
    """x dropped, into its own memory; False, and nothing done, where that is not one piece."""
    path = _path(x, asked)
    if path is None:
        return False
    _into(x, x, seed, stream, asked, path)
    return True


def _path(x: Tensor, asked: Plan | Part) -> Loops | None:
    walk = memory_walk(asked.binding.whole, x.stride(), 1)
    fast = kernels.for_gpu()
    assert fast is not None
    return walk[1] if walk is not None and len(walk[1]) <= fast.LOOPS else None


def _into(
    out: Tensor, x: Tensor, seed: Tensor, stream: str | None, asked: Plan | Part, path: Loops
) -> None:
    fast = kernels.for_gpu()
    assert fast is not None
    name = None if stream is None else spec.stream_words(stream)
    scale = float(np.float32(asked.expected))
    law, first = asked.law, asked.first
    with torch.cuda.device_of(x):  # Triton starts kernels on the current device, whoever's x is.
        if law.independent and first is not None and path == ((x.numel(), 1),):
            fast.elements(x, out, seed, name, first, spec.threshold(law.p), scale)
            return
        coins = _coins(seed, stream, asked)
        if asked.binding.repeats is not None:
            axis, members, size = asked.binding.repeats
            coins = coins.index_select(axis, torch.arange(size, device=x.device) // members)
        fast.apply(x, out, coins.contiguous(), path, scale)


def _coins(seed: Tensor, stream: str | None, asked: Plan | Part) -> Tensor:
    """The coins as the binding has them, 1 or True where kept."""
    fast, law, shape = kernels.for_gpu(), asked.law, asked.binding.coins
    assert fast is not None
    name = None if stream is None else spec.stream_words(stream)
    if isinstance(asked, Plan) and law.block:
        rate = spec.centre_rate(law, shape)
        centres = fast.drawn(shape, seed, name, spec.threshold(rate))
        return fast.cleared(centres, spec.spans(law, shape))  # type: ignore[no-any-return]
    if isinstance(asked, Plan) and law.independent:
        return fast.drawn(shape, seed, name, spec.threshold(law.p))  # type: ignore[no-any-return]
    key = plain.stream_key(seed[:1], stream)
    step = seed[1:] if seed.numel() > 1 else torch.zeros_like(seed)
    return plain.drawn(asked, key, step)[0]

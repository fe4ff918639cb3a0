"""Drops on a GPU by Triton's kernels. The host never waits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mapdrop import kernels
from mapdrop.backends.host import Loops, memory_walk
from mapdrop.backends.torch import law as plain
from mapdrop.spec import reference as spec
from mapdrop.spec.local_spec import LocalSpec
from mapdrop.spec.mask_spec import BoundSpec

_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def fits(x: Tensor, bound: BoundSpec | LocalSpec) -> bool:
    """Whether the kernels can do it: a GPU that Triton knows, the dtype, one scale for all."""
    return x.numel() > 0 and x.dtype in _DTYPES and bound.counted_axes is None and known(x)


def known(x: Tensor) -> bool:
    """Whether x is on a GPU that Triton knows, its memory holding the values themselves."""
    return x.is_cuda and not x.is_neg() and kernels.for_gpu() is not None


def drop(
    x: Tensor, seed: Tensor, stream: str | None, bound: BoundSpec | LocalSpec
) -> Tensor | None:
    """x dropped: a new tensor of the same layout; None where its memory has too many loops."""
    out = torch.empty_like(x)
    path = _path(out, bound)
    if path is None:
        return None
    source = x
    if x.stride() != out.stride():
        source = out.copy_(x)
    _into(out, source, seed, stream, bound, path)
    return out


def drop_in_place(
    x: Tensor, seed: Tensor, stream: str | None, bound: BoundSpec | LocalSpec
) -> bool:
    """x dropped, into its own memory; False, and nothing done, where that is not one piece."""
    path = _path(x, bound)
    if path is None:
        return False
    _into(x, x, seed, stream, bound, path)
    return True


def _path(x: Tensor, bound: BoundSpec | LocalSpec) -> Loops | None:
    walk = memory_walk(bound.binding.whole, x.stride(), 1)
    fast = kernels.for_gpu()
    assert fast is not None
    return walk[1] if walk is not None and len(walk[1]) <= fast.LOOPS else None


def _into(
    out: Tensor,
    x: Tensor,
    seed: Tensor,
    stream: str | None,
    bound: BoundSpec | LocalSpec,
    path: Loops,
) -> None:
    fast = kernels.for_gpu()
    assert fast is not None
    name = None if stream is None else spec.stream_words(stream)
    scale = float(np.float32(bound.expected))
    law, first = bound.law, bound.first
    with torch.cuda.device_of(x):  # Triton starts kernels on the current device, whoever's x is.
        if law.independent and first is not None and path == ((x.numel(), 1),):
            fast.elements(x, out, seed, name, first, spec.threshold(law.p), scale)
            return
        kept = plain.repeated(coins(seed, stream, bound), bound.binding)
        fast.apply(x, out, kept.contiguous(), path, scale)


def coins(seed: Tensor, stream: str | None, bound: BoundSpec | LocalSpec) -> Tensor:
    """The coins as the binding has them, 1 or True where kept; by plain operations if need be."""
    law, shape = bound.law, bound.binding.coins
    if isinstance(bound, BoundSpec) and (law.block or law.independent):
        fast = kernels.for_gpu()
        assert fast is not None
        name = None if stream is None else spec.stream_words(stream)
        rate = spec.centre_rate(law, shape) if law.block else law.p
        with torch.cuda.device_of(seed):
            made: Tensor = fast.drawn(shape, seed, name, spec.threshold(rate))
            return fast.cleared(made, spec.spans(law, shape)) if law.block else made
    return plain.drawn(bound, seed, stream)[0]


def bits(seed: Tensor, stream: str | None, bound: BoundSpec) -> Tensor:
    """Independent coins, a bit for each, 32 in a number from the lowest on."""
    fast = kernels.for_gpu()
    assert fast is not None
    name = None if stream is None else spec.stream_words(stream)
    with torch.cuda.device_of(seed):
        made: Tensor = fast.packed(bound.binding.count, seed, name, spec.threshold(bound.law.p))
        return made

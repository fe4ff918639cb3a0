"""Drops on a GPU by Triton's kernels. The host never waits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapdrop import kernels
from mapdrop.backends.cpu import Loops, memory_walk
from mapdrop.backends.torch._internals import has_storage
from mapdrop.backends.torch.coins import TorchSpace, drawn, repeated
from mapdrop.spec.law import BlockAxis, kept, threshold
from mapdrop.spec.local_spec import LocalSpec
from mapdrop.spec.mask_spec import BoundSpec
from mapdrop.spec.words import stream_words

_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def fits(x: Tensor, bound: BoundSpec | LocalSpec) -> bool:
    """Whether the kernels can do it: a GPU that Triton knows, the dtype, one scale for all."""
    return x.numel() > 0 and x.dtype in _DTYPES and bound.counted_axes is None and known(x)


def known(x: Tensor) -> bool:
    """Whether x is on a GPU that Triton knows, its memory holding the values themselves."""
    return x.is_cuda and has_storage(x) and not x.is_neg() and kernels.for_gpu() is not None


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
    walk = memory_walk(bound.binding.ungrouped, x.stride(), 1)
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
    name = None if stream is None else stream_words(stream)
    scale = float(np.float32(bound.expected))
    law, first = bound.law, bound.first
    with torch.cuda.device_of(x):  # Triton starts kernels on the current device, whoever's x is.
        if law.independent and first is not None and path == ((x.numel(), 1),):
            fast.elements(x, out, seed, name, first, threshold(law.p), scale)
            return
        made = repeated(coins(seed, stream, bound), bound.binding)
        fast.apply(x, out, made.contiguous(), path, scale)


class TritonSpace(TorchSpace):
    """The coins of a mask on a GPU, 1 or True where kept: by the kernels where there is one."""

    def __init__(self, sizes: tuple[int, ...], seed: Tensor, stream: str | None) -> None:
        super().__init__(sizes, seed, stream)
        self.kernels: Any = kernels.for_gpu()

    def coins(self, threshold: int) -> Tensor:
        """See `CoinSpace`: the words are never stored."""
        name = None if self.stream is None else stream_words(self.stream)
        with torch.cuda.device_of(self.seed):
            made: Tensor = self.kernels.drawn(self.sizes, self.seed, name, threshold)
            return made

    def erode(self, kept: Tensor, block: BlockAxis) -> Tensor:
        """See `CoinSpace`."""
        with torch.cuda.device_of(kept):
            made: Tensor = self.kernels.cleared(kept, [block])
            return made


def coins(seed: Tensor, stream: str | None, bound: BoundSpec | LocalSpec) -> Tensor:
    """Return the coins as the binding has them, 1 or True where kept."""
    if isinstance(bound, LocalSpec):
        return drawn(bound, seed, stream)[0]
    return kept(bound.law, TritonSpace(bound.binding.coins, seed, stream))


def bits(seed: Tensor, stream: str | None, bound: BoundSpec) -> Tensor:
    """Independent coins, a bit for each, 32 in a number from the lowest on."""
    fast = kernels.for_gpu()
    assert fast is not None
    name = None if stream is None else stream_words(stream)
    with torch.cuda.device_of(seed):
        made: Tensor = fast.packed(bound.binding.count, seed, name, threshold(bound.law.p))
        return made

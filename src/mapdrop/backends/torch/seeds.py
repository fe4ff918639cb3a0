"""The seed of a tensor's mask, as a tensor: [seed] or [seed, step], int64, where the input is.

It is never read by the host unless the input is there, so a GPU is not waited for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mapdrop.backends.torch.generator import fresh, recorded
from mapdrop.backends.torch.source import Source
from mapdrop.spec import seed as seeds


def ticket(x: Tensor, seed: Any, step: Any) -> Tensor:
    """Seed and step for dropping x: numbers, tensors of one integer, a generator, or None.

    A seeded layer's source has both.
    """
    if isinstance(seed, Source):
        seed, step = seed.ticket(x)
    made = _seed(x, seed)
    if isinstance(step, Tensor):
        return torch.cat([made, step.reshape(1).to(x.device, torch.int64)])
    number = seeds.whole(step, "step")
    return made if number == 0 else torch.cat([made, _number(number, x.device)])


def _seed(x: Tensor, seed: Any) -> Tensor:
    if isinstance(seed, Tensor):
        if seed.numel() != 1 or seed.is_floating_point() or seed.is_complex():
            raise ValueError(
                f"a seed tensor has one integer, not shape {tuple(seed.shape)} of {seed.dtype}"
            )
        bits = seed.view(torch.int64) if seed.dtype == torch.uint64 else seed
        return bits.reshape(1).to(x.device, torch.int64)
    if seed is None or isinstance(seed, torch.Generator):
        compiling = torch.compiler.is_compiling()
        if not compiling and torch._C._is_tracing():
            # An operation that TorchScript knows to be random, so that it never merges two of them.
            return x.new_empty(1, dtype=torch.int64).random_(-(2**63), None)
        if compiling or (seed is None and recorded()):
            traced: Tensor = torch.ops.mapdrop.fresh_seed(x.new_empty(0))
            return traced
        return fresh(x.device, seed)
    return _number(seeds.whole(seed, "seed"), x.device)


def read_ticket(ticket: Tensor, stream: str | None) -> tuple[int, int]:
    """The key and the step, as numbers; a device is waited for."""
    number, step = [n % 2**64 for n in (*ticket.tolist(), 0)[:2]]
    return seeds.key(number, stream), step


def _number(number: int, device: torch.device) -> Tensor:
    """An unsigned 64-bit number as an int64 of the same bits."""
    signed = number - 2**64 if number >= 2**63 else number
    return torch.full((1,), signed, dtype=torch.int64, device=device)

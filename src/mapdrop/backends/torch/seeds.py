"""The seed and the step of a tensor's mask: two numbers on the host, elsewhere a tensor.

The tensor is [seed] or [seed, step], int64, where the input is. The host never reads it unless the
input is there, so a GPU is not waited for.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapdrop.backends.torch._internals import is_tracing
from mapdrop.backends.torch.coins import philox, split
from mapdrop.backends.torch.generator import fresh, fresh_seed, recorded
from mapdrop.backends.torch.source import Source
from mapdrop.spec import seed as seeds

_LIMIT = 2**64


def seed_tensor(x: Tensor, seed: Any, step: Any, rate: Tensor | None = None) -> Tensor:
    """Return [seed] or [seed, step] for dropping x.

    Args:
        seed: a number, a tensor of one integer, a key of `torch.func._random`, a generator, a
            seeded layer's source, which has the step too, or None, for a number from PyTorch's
            generator for x's device.
        step: a number, or a tensor of one integer.
        rate: of a scheduled layer in compiled code. A call at 0 draws no number, as in eager code.
    """
    if isinstance(seed, Source):
        seed, step = seed.key_and_step(x, rate)
    made = _seed(x, seed, rate)
    if isinstance(step, Tensor):
        return torch.cat([made, step.reshape(1).to(x.device, torch.int64)])
    number = seeds.check_uint64(step, "step")
    return made if number == 0 else torch.cat([made, _number(number, x.device)])


def key_and_step(x: Tensor, seed: Any, stream: str | None, step: Any) -> tuple[int, int]:
    """Return the same as numbers, with the stream in the key, for x that `eager_cpu` takes."""
    if isinstance(seed, Source):
        found = seed.key_and_step(x)
        if isinstance(found[0], int):
            return found
        seed, step = found
    if seed is None:
        number = _scratch.draw()
    elif isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < _LIMIT:
        number = seed
    else:
        number = int(_seed(x, seed))
    if isinstance(step, Tensor):
        step = int(step) % _LIMIT
    elif type(step) is not int or step:
        step = seeds.check_uint64(step, "step")
    return (number % _LIMIT if stream is None else seeds.key(number % _LIMIT, stream)), step


class _Scratch(threading.local):
    """A tensor of one number for each thread: making one takes as long as drawing it."""

    def __init__(self) -> None:
        self.number = np.empty(1, np.int64)  # NumPy reads it faster than PyTorch does.
        with torch.inference_mode(False):
            self.tensor = torch.from_numpy(self.number)

    def draw(self) -> int:
        """Return 64 bits from PyTorch's generator for the CPU, the same as `fresh` gives."""
        self.tensor.random_(-(2**63), 2**63 - 1)
        number: int = self.number.item()
        return number


_scratch = _Scratch()


def _seed(x: Tensor, seed: Any, rate: Tensor | None = None) -> Tensor:
    if isinstance(seed, Tensor):
        if seed.dtype == torch.uint64 and seed.shape == (2,):
            return _key_number(seed).to(x.device)
        if seed.numel() != 1 or seed.is_floating_point() or seed.is_complex():
            raise ValueError(
                "a seed tensor has one integer, or is one key of torch.func._random (two of "
                f"uint64), not shape {tuple(seed.shape)} of {seed.dtype}"
            )
        bits = seed.view(torch.int64) if seed.dtype == torch.uint64 else seed
        # A copy: backward needs it, and a counter goes on meanwhile.
        return bits.reshape(1).to(x.device, torch.int64, copy=True)
    if seed is None or isinstance(seed, torch.Generator):
        compiling = torch.compiler.is_compiling()
        if not compiling and is_tracing():
            # TorchScript knows that this operation is random and never merges two of them.
            return x.new_empty(1, dtype=torch.int64).random_(-(2**63), None)
        if compiling or (seed is None and recorded()):
            return fresh_seed(x.new_empty(0), rate)
        return fresh(x.device, seed)
    return _number(seeds.check_uint64(seed, "seed"), x.device)


def _key_number(key: Tensor) -> Tensor:
    """Return the number of a stateless key, (seed, offset), whose four words are hashed to two.

    So no key is the seed that it was made from, and keys that differ in their offset alone, as
    those of `split` may, have different masks.
    """
    low, high = split(key.view(torch.int64))
    zero = torch.zeros_like(low[:1])
    first, second, *_ = philox((low[:1], high[:1], low[1:], high[1:]), (zero, zero))
    return first | (second << 32)


def read_seed(words: Tensor, stream: str | None) -> tuple[int, int]:
    """Return the key and the step as numbers. Waits for a device."""
    number, step = [n % _LIMIT for n in (*words.tolist(), 0)[:2]]
    return seeds.key(number, stream), step


def _number(number: int, device: torch.device) -> Tensor:
    """Return an unsigned 64-bit number as an int64 tensor of the same bits."""
    signed = number - 2**64 if number >= 2**63 else number
    return torch.full((1,), signed, dtype=torch.int64, device=device)

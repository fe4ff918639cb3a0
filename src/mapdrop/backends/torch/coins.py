"""Words and laws in plain tensor operations: any device, the seed staying where it is.

The same bits as `mapdrop.spec.words`, which is the definition. Words are int64 from 0 to
2**32 - 1, because PyTorch has few operations on unsigned integers.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from mapdrop.spec.binding import Binding
from mapdrop.spec.law import BlockAxis, CoinSpace, Size, kept, numbered
from mapdrop.spec.local_spec import Box, LocalSpec
from mapdrop.spec.mask_spec import BoundSpec
from mapdrop.spec.words import stream_words

_LOW = 0xFFFF_FFFF
_W0, _W1 = 0x9E37_79B9, 0xBB67_AE85


def philox(counter: tuple[Tensor, ...], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Four words for each counter."""
    a, b, c, d = counter
    k0, k1 = key
    for turn in range(10):
        (low0, high0), (low1, high1) = _product(a, 0xD251_1F53), _product(c, 0xCD9E_8D57)
        a, b = high1 ^ b ^ ((k0 + turn * _W0) & _LOW), low1
        c, d = high0 ^ d ^ ((k1 + turn * _W1) & _LOW), low0
    return a, b, c, d


def _product(word: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Low and high word. The 64-bit product wraps to a negative number but keeps its bits."""
    product = word * factor
    return product & _LOW, (product >> 32) & _LOW


def split(number: Tensor) -> tuple[Tensor, Tensor]:
    """The low and the high word of 64-bit numbers."""
    return number & _LOW, (number >> 32) & _LOW


def stream_key(seed: Tensor, stream: str | None) -> Tensor:
    """The key for a seed and a stream's name."""
    if stream is None:
        return seed
    counter = tuple(torch.full_like(seed, word) for word in stream_words(stream))
    low, high, *_ = philox(counter, split(seed))
    return low | (high << 32)


def words(count: int, key: Tensor, step: Tensor, start: int = 0) -> Tensor:
    """The words of the `count` coins from number `start` on."""
    first, last = start >> 2, (start + count + 3) >> 2
    block = torch.arange(first, last, device=key.device)
    lanes = philox((*split(block), *split(step)), split(key))
    lanes = tuple(lane.expand(block.shape) for lane in lanes)
    return torch.stack(lanes, -1).reshape(-1)[start - 4 * first :][:count]


def words_of_runs(starts: Tensor, run: int, key: Tensor, step: Tensor) -> Tensor:
    """The words of the `run` coins from each of `starts` on: shape (number of runs, run)."""
    block = (starts >> 2)[:, None] + torch.arange((run + 6) // 4, device=key.device)
    lanes = philox((*split(block), *split(step)), split(key))
    words = torch.stack([lane.expand(block.shape) for lane in lanes], -1).flatten(1)
    own = (starts & 3)[:, None] + torch.arange(run, device=key.device)
    return words.gather(1, own)


class TorchSpace(CoinSpace[Tensor, Tensor]):
    """The coins of a mask; `seed` is [seed] or [seed, step], where the coins are to be."""

    shape: tuple[Size, ...]
    seed: Tensor
    stream: str | None

    def __init__(self, sizes: tuple[int, ...], seed: Tensor, stream: str | None) -> None:
        self.sizes = self.shape = sizes
        self.seed, self.stream = seed, stream

    @cached_property
    def key_and_step(self) -> tuple[Tensor, Tensor]:
        """The generator's key and step."""
        step = self.seed[1:] if self.seed.numel() > 1 else torch.zeros_like(self.seed)
        return stream_key(self.seed[:1], self.stream), step

    def words(self, axis: int | None = None) -> Tensor:
        """See `CoinSpace`."""
        shape, start = numbered(self.sizes, axis)
        return words(math.prod(shape), *self.key_and_step, start).reshape(shape)

    def at_least(self, words: Tensor, threshold: int) -> Tensor:
        """See `CoinSpace`."""
        return words >= threshold

    def high_word(self, number: int, words: Tensor) -> Tensor:
        """See `CoinSpace`."""
        return (number + words) >> 32

    def largest(self, words: Tensor, axis: int, quota: int | Tensor) -> Tensor:
        """See `CoinSpace`."""
        n = words.shape[axis]
        if not isinstance(quota, Tensor):
            quota = torch.full_like(words.narrow(axis, 0, 1), quota)
        place = torch.arange(n, device=words.device).reshape([-1] + [1] * (words.ndim - 1 - axis))
        order = (_LOW - words) * n + place
        last = order.sort(axis).values.gather(axis, (quota - 1).clamp(min=0))
        return (order <= last) & (quota > 0)

    def erode(self, kept: Tensor, block: BlockAxis) -> Tensor:
        """See `CoinSpace`."""
        eroded = torch.ones_like(kept)
        for offset in range(-(block.size // 2), block.size - block.size // 2):
            low, high = max(0, block.first + offset), min(block.length, block.last + 1 + offset)
            if low < high:
                eroded.narrow(block.axis, low, high - low).logical_and_(
                    kept.narrow(block.axis, low - offset, high - low)
                )
        return eroded

    def count(self, kept: Tensor, axes: tuple[int, ...]) -> Tensor:
        """See `CoinSpace`."""
        return kept.sum(axes, keepdim=True) if axes else kept.long()

    def ratio(self, drawn: int, kept: Tensor) -> Tensor:
        """See `CoinSpace`; in float32 where a device has no float64."""
        counted = kept.to(torch.float64 if kept.device.type != "mps" else torch.float32)
        # Not drawn / counted: PyTorch makes that a reciprocal and a product, with two roundings.
        return torch.where(kept > 0, torch.full_like(counted, drawn) / counted.clamp(min=1), 0.0)


class TorchBoxSpace(TorchSpace):
    """Those coins of a mask that a shard needs."""

    box: Box
    shape: tuple[Size, ...]

    def __init__(self, box: Box, seed: Tensor, stream: str | None) -> None:
        super().__init__(box.sizes, seed, stream)
        self.box, self.shape = box, box.shape

    def words(self, axis: int | None = None) -> Tensor:
        """See `CoinSpace`."""
        starts, run = self.box.runs(axis)
        numbers = torch.from_numpy(starts).to(self.seed.device)
        shape = [1 if a == axis else n for a, n in enumerate(self.shape)]
        return words_of_runs(numbers, run, *self.key_and_step).reshape(shape)

    def erode(self, kept: Tensor, block: BlockAxis) -> Tensor:
        """See `CoinSpace`."""
        return super().erode(kept, self.box.local(block))


def drawn(
    bound: BoundSpec | LocalSpec, seed: Tensor, stream: str | None
) -> tuple[Tensor, float | Tensor]:
    """Return the coins as `bound.binding` has them (bool), and the kept values' factor.

    `seed` is [seed] or [seed, step].
    """
    if isinstance(bound, BoundSpec):
        space = TorchSpace(bound.binding.coins, seed, stream)
        coins = kept(bound.law, space)
        return coins, bound.factor(space, coins)
    space = TorchBoxSpace(bound.box, seed, stream)
    coins = kept(bound.law, space)
    factor = bound.bound.factor(space, coins)
    if isinstance(factor, Tensor):
        factor = _to_values(factor.expand(coins.shape), bound)
    return _to_values(coins, bound), factor


def repeated(coins: Tensor, binding: Binding) -> Tensor:
    """The coins of `binding.ungrouped`: repeated where the last group of a batch is smaller."""
    if binding.repeats is None:
        return coins
    axis, members, size = binding.repeats
    return coins.index_select(axis, torch.arange(size, device=coins.device) // members)


def _to_values(coins: Tensor, part: LocalSpec) -> Tensor:
    """Return an array along the box's axes along those of `part.binding`."""
    lined_up = coins.permute(part.order).reshape(part.merged)
    for axis, take in enumerate(part.takes):
        if take is not None:
            lined_up = lined_up.index_select(axis, torch.from_numpy(take).to(coins.device))
    return lined_up

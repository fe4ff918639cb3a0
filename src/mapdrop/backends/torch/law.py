"""The specification in plain tensor operations: any device, the seed staying where it is.

The same bits as `mapdrop.spec.reference`, which is the definition. Words are int64 from 0 to
2**32 - 1, because PyTorch has few operations on unsigned integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mapdrop.spec import reference as spec
from mapdrop.spec.binding import Binding
from mapdrop.spec.local_spec import Box, LocalSpec
from mapdrop.spec.mask_spec import BoundSpec

Spans = list[tuple[int, int, int, int, int]]
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
    counter = tuple(torch.full_like(seed, word) for word in spec.stream_words(stream))
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


def drawn(
    plan: BoundSpec | LocalSpec, seed: Tensor, stream: str | None
) -> tuple[Tensor, float | Tensor]:
    """The coins as `plan.binding` has them (bool, True is kept), and the kept values' factor.

    `seed` is [seed] or [seed, step].
    """
    key = stream_key(seed[:1], stream)
    step = seed[1:] if seed.numel() > 1 else torch.zeros_like(seed)
    if isinstance(plan, BoundSpec):
        shape = plan.binding.coins
        coins = _kept(plan.law, shape, shape, spec.spans(plan.law, shape), _all(shape, key, step))
        return coins, _factor(plan, coins)
    box = plan.box
    made = _kept(plan.law, box.sizes, box.shape, box.spans(plan.law), _some(box, key, step))
    scale = _factor(plan.whole, made)
    if isinstance(scale, Tensor):
        scale = _taken(scale.expand(made.shape), plan)
    return _taken(made, plan), scale


def repeated(coins: Tensor, binding: Binding) -> Tensor:
    """The coins of `binding.whole`: repeated where the last group of a batch is smaller."""
    if binding.repeats is None:
        return coins
    axis, members, size = binding.repeats
    return coins.index_select(axis, torch.arange(size, device=coins.device) // members)


Draw = Callable[[int | None], Tensor]
"""Makes the words of the coins, or of the lines along an axis that come after all coins."""


def _all(shape: tuple[int, ...], key: Tensor, step: Tensor) -> Draw:
    def draw(axis: int | None) -> Tensor:
        if axis is None:
            return words(math.prod(shape), key, step).reshape(shape)
        others = shape[:axis] + shape[axis + 1 :]
        return words(math.prod(others), key, step, math.prod(shape)).reshape(others)

    return draw


def _some(box: Box, key: Tensor, step: Tensor) -> Draw:
    def draw(axis: int | None) -> Tensor:
        own = box if axis is None else box.without(axis)
        starts, run = own.runs
        numbers = torch.from_numpy(starts).to(key.device)
        if axis is not None:
            numbers = numbers + math.prod(box.sizes)
        return words_of_runs(numbers, run, key, step).reshape(own.shape)

    return draw


def _kept(
    law: spec.Law, sizes: tuple[int, ...], shape: tuple[int, ...], spans: Spans, draw: Draw
) -> Tensor:
    """Which coins of `shape`, a box in a coin space of `sizes`, are kept."""
    drawn = draw(None)
    if 0 in shape:
        return drawn.bool()
    if law.block:
        return ~_dilate(drawn < spec.threshold(spec.centre_rate(law, sizes)), spans)
    if law.independent:
        return drawn >= spec.threshold(law.p)
    axis = law.exact if law.balance is None else law.balance
    assert axis is not None
    if law.exact is not None:
        quota = torch.full_like(drawn.narrow(axis, 0, 1), spec.survivors(law.p, sizes[axis]))
    else:
        room = (2**32 - spec.threshold(law.p)) * sizes[axis]
        quota = ((room + draw(axis)) >> 32).unsqueeze(axis)
    return _largest(drawn, axis, quota)


def _taken(coins: Tensor, part: LocalSpec) -> Tensor:
    """From the box's axes to those of `part.binding`."""
    lined_up = coins.permute(part.order).reshape(part.merged)
    for axis, take in enumerate(part.takes):
        if take is not None:
            lined_up = lined_up.index_select(axis, torch.from_numpy(take).to(coins.device))
    return lined_up


def _factor(plan: BoundSpec, coins: Tensor) -> float | Tensor:
    """What kept values are multiplied by; float64 on the coins' device where it is counted."""
    if plan.counted_axes is None:
        return plan.expected
    kept = coins.sum(plan.counted_axes, keepdim=True) if plan.counted_axes else coins.long()
    drawn = math.prod(coins.shape[axis] for axis in plan.counted_axes)
    counted = kept.to(torch.float64 if coins.device.type != "mps" else torch.float32)
    # Not drawn / counted: PyTorch makes that a reciprocal and a product, with two roundings.
    return torch.where(kept > 0, torch.full_like(counted, drawn) / counted.clamp(min=1), 0.0)


def _largest(drawn: Tensor, axis: int, quota: Tensor) -> Tensor:
    n = drawn.shape[axis]
    place = torch.arange(n, device=drawn.device).reshape([-1] + [1] * (drawn.ndim - 1 - axis))
    order = (_LOW - drawn) * n + place
    last = order.sort(axis).values.gather(axis, (quota - 1).clamp(min=0))
    return (order <= last) & (quota > 0)


def _dilate(centres: Tensor, spans: Spans) -> Tensor:
    covered = centres
    for axis, k, n, first, last in spans:
        source, covered = covered, torch.zeros_like(covered)
        for offset in range(-(k // 2), k - k // 2):
            low, high = max(0, first + offset), min(n, last + 1 + offset)
            if low < high:
                covered.narrow(axis, low, high - low).logical_or_(
                    source.narrow(axis, low - offset, high - low)
                )
    return covered

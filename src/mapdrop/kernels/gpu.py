"""The specification's coins and their use, compiled for GPUs by Triton.

Values are taken as they lie in memory: a dense piece, whatever its axes are called. Where coins
lie as the values do, one kernel draws and applies them, and nothing is read beside x. Elsewhere
coins are made first, a byte each, and every value looks up its own; there are far fewer of them, or
(blocks) their neighbours have to see them anyway. Seed and step are read on the device: the host
never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

LOOPS = 5
"""Of the values' memory, from the outermost on; what has more is not for these kernels."""

Words = tuple[int, int, int, int]
"""A stream's name, hashed."""

_BLOCKS = 256  # Philox blocks of a program, which are four values each.
_VALUES = 1024  # Values of a program that looks coins up.

# Numbers for which a kernel is not compiled again where they are 1, or divisible by 16.
_WORDS = ["s0", "s1", "s2", "s3", "first", "threshold"]
_SPANS = ["inner", "n", "first", "last", "before", "after"]
_WALK = ["n0", "n1", "n2", "n3", "n4", "t0", "t1", "t2", "t3", "t4"]


@triton.jit
def _key(ticket, s0, s1, s2, s3, STREAM: tl.constexpr):
    """The low and high word of the key: the seed, or what a stream's name makes of it."""
    seed = tl.load(ticket)
    low, high = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    if STREAM:
        words = tl.philox_impl(
            s0.to(tl.uint32), s1.to(tl.uint32), s2.to(tl.uint32), s3.to(tl.uint32), low, high
        )
        low, high = words[0], words[1]
    return low, high


@triton.jit
def _words(
    ticket, s0, s1, s2, s3, start, BLOCKS: tl.constexpr, STREAM: tl.constexpr, STEP: tl.constexpr
):
    """The words of 4 * BLOCKS coins from number `start`, a multiple of four, on."""
    low, high = _key(ticket, s0, s1, s2, s3, STREAM)
    block = (start >> 2) + tl.arange(0, BLOCKS)
    c0, c1 = block.to(tl.uint32), (block >> 32).to(tl.uint32)
    c2, c3 = tl.zeros_like(c0), tl.zeros_like(c0)
    if STEP:
        step = tl.load(ticket + 1)
        c2, c3 = c2 + step.to(tl.uint32), c3 + (step >> 32).to(tl.uint32)
    a, b, c, d = tl.philox_impl(c0, c1, c2, c3, low, high)
    return tl.interleave(tl.interleave(a, c), tl.interleave(b, d))


@triton.jit
def _dropped(value, kept, scale):
    """Kept values times the scale, rounded once; +0 for the others, whatever they are.

    bfloat16 comes as int16 of the same bits. It is rounded here, to nearest and even: Triton's
    interpreter, in which these kernels are held against the specification, cuts it off instead.
    """
    if value.dtype == tl.int16:
        wide = (value.to(tl.int32) << 16).to(tl.float32, bitcast=True) * scale
        bits = wide.to(tl.uint32, bitcast=True)
        near = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        # Adding could carry a NaN over into an infinity, or a number.
        near = tl.where(wide == wide, near, (bits >> 16) | 0x40)
        scaled = near.to(tl.int16)
    else:
        scaled = (value.to(tl.float32) * scale).to(value.dtype)
    return tl.where(kept, scaled, tl.zeros_like(scaled))


@triton.jit(do_not_specialize=_WORDS)
def _elements(
    x, out, ticket, s0, s1, s2, s3, first, count, threshold, scale,
    LEAD: tl.constexpr, BLOCKS: tl.constexpr, STREAM: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """out = x dropped, where value i of the memory has coin `first` + LEAD + i."""
    start = tl.program_id(0).to(tl.int64) * (4 * BLOCKS)
    words = _words(ticket, s0, s1, s2, s3, first + start, BLOCKS, STREAM, STEP)
    place = start - LEAD + tl.arange(0, 4 * BLOCKS)
    there = place < count
    if LEAD:  # A constant, because without it loads and stores are of four values at a time.
        there = there & (place >= 0)
    value = tl.load(x + place, mask=there, other=0)
    kept = words.to(tl.int64) >= threshold
    tl.store(out + place, _dropped(value, kept, scale), mask=there)


@triton.jit(do_not_specialize=_WORDS)
def _draw(
    out, ticket, s0, s1, s2, s3, count, threshold,
    BLOCKS: tl.constexpr, STREAM: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """out: a byte for each coin, 1 where its word is at least the threshold."""
    start = tl.program_id(0).to(tl.int64) * (4 * BLOCKS)
    words = _words(ticket, s0, s1, s2, s3, start, BLOCKS, STREAM, STEP)
    place = start + tl.arange(0, 4 * BLOCKS)
    kept = words.to(tl.int64) >= threshold
    tl.store(out + place, kept.to(tl.int8), mask=place < count)


@triton.jit(do_not_specialize=_WORDS)
def _pack(
    out, ticket, s0, s1, s2, s3, count, threshold,
    BLOCKS: tl.constexpr, STREAM: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """out: a bit for each coin, 32 in a number from the lowest on, `count` numbers."""
    start = tl.program_id(0).to(tl.int64) * (4 * BLOCKS)
    words = _words(ticket, s0, s1, s2, s3, start, BLOCKS, STREAM, STEP)
    kept = (words.to(tl.int64) >= threshold).to(tl.int32)
    bits = tl.reshape(kept, (BLOCKS // 8, 32)) << tl.arange(0, 32)[None, :]
    place = (start >> 5) + tl.arange(0, BLOCKS // 8)
    tl.store(out + place, tl.sum(bits, axis=1), mask=place < count)


@triton.jit(do_not_specialize=_SPANS)
def _clear(
    source, out, count, inner, n, first, last, before, after, VALUES: tl.constexpr
):  # fmt: skip
    """out: 0 wherever a 0 of `source` is near along an axis of size n and stride `inner`.

    Near is from `before` places earlier to `after` later; zeros count between `first` and `last`.
    """
    place = tl.program_id(0).to(tl.int64) * VALUES + tl.arange(0, VALUES)
    there = place < count
    at = (place // inner) % n
    kept = tl.full((VALUES,), 1, tl.int8)
    for offset in range(-before, after + 1):
        near = at + offset
        counts = there & (near >= first) & (near <= last)
        kept = kept & tl.load(source + place + offset * inner, mask=counts, other=1)
    tl.store(out + place, kept, mask=there)


@triton.jit(do_not_specialize=_WALK)
def _apply(
    x, out, coins, count, scale,
    n0, n1, n2, n3, n4, t0, t1, t2, t3, t4,
    LARGE: tl.constexpr, VALUES: tl.constexpr,
):  # fmt: skip
    """out = x dropped by coins that are looked up; memory is five loops of sizes n, steps t."""
    base = tl.program_id(0).to(tl.int64) * VALUES
    place = base + tl.arange(0, VALUES)
    there = place < count
    rest = place
    if not LARGE:  # Divisions of 64 bits take several times as long.
        rest = place.to(tl.int32)
    coin = (rest % n4) * t4
    rest = rest // n4
    coin += (rest % n3) * t3
    rest = rest // n3
    coin += (rest % n2) * t2
    rest = rest // n2
    coin += (rest % n1) * t1
    coin += (rest // n1) * t0
    value = tl.load(x + place, mask=there, other=0)
    kept = tl.load(coins + coin, mask=there, other=0) != 0
    tl.store(out + place, _dropped(value, kept, scale), mask=there)


def elements(
    x: Tensor, out: Tensor, ticket: Tensor, stream: Words | None, first: int, threshold: int,
    scale: float,
) -> None:  # fmt: skip
    """out = x dropped, where the values' memory has the coins from number `first` on.

    Args:
        x, out: dense, of one layout; they may be the same.
        ticket: [seed] or [seed, step], int64, where x is.
        stream: its words, or None.
        threshold: dropped is a word below it, of 0 to 2**32.
        scale: of kept values, as float32 has it.
    """
    count, lead = x.numel(), first & 3
    _elements[(triton.cdiv(count + lead, 4 * _BLOCKS),)](
        _raw(x), _raw(out), ticket, *(stream or (0,) * 4), first - lead, count, threshold, scale,
        LEAD=lead, BLOCKS=_BLOCKS, STREAM=stream is not None, STEP=ticket.numel() > 1,
    )  # fmt: skip


def drawn(shape: tuple[int, ...], ticket: Tensor, stream: Words | None, threshold: int) -> Tensor:
    """Coins of a whole space, int8: 1 where the word is at least the threshold."""
    made = torch.empty(shape, dtype=torch.int8, device=ticket.device)
    if count := made.numel():
        _draw[(triton.cdiv(count, 4 * _BLOCKS),)](
            made, ticket, *(stream or (0,) * 4), count, threshold,
            BLOCKS=_BLOCKS, STREAM=stream is not None, STEP=ticket.numel() > 1,
        )  # fmt: skip
    return made


def packed(count: int, ticket: Tensor, stream: Words | None, threshold: int) -> Tensor:
    """The first `count` coins, int32: a bit for each, 1 where the word is at least the threshold.

    The lowest bit of a number is its first coin. Bits after the last coin may have any value.
    """
    made = torch.empty(triton.cdiv(count, 32), dtype=torch.int32, device=ticket.device)
    if count:
        _pack[(triton.cdiv(count, 4 * _BLOCKS),)](
            made, ticket, *(stream or (0,) * 4), made.numel(), threshold,
            BLOCKS=_BLOCKS, STREAM=stream is not None, STEP=ticket.numel() > 1,
        )  # fmt: skip
    return made


def cleared(coins: Tensor, spans: Sequence[tuple[int, int, int, int, int]]) -> Tensor:
    """Coins of which each is 0 where a 0 of `coins` is the centre of a block that it lies in.

    Args:
        spans: as `mapdrop.spec.reference.spans` gives them: axis, block's size, axis's size,
            first and last place of a centre.
    """
    for axis, size, n, first, last in spans:
        made = torch.empty_like(coins)
        if coins.numel():
            _clear[(triton.cdiv(coins.numel(), _VALUES),)](
                coins, made, coins.numel(), coins.stride(axis), n, first, last,
                size - size // 2 - 1, size // 2, VALUES=_VALUES,
            )  # fmt: skip
        coins = made
    return coins


def apply(
    x: Tensor, out: Tensor, coins: Tensor, loops: Sequence[tuple[int, int]], scale: float
) -> None:
    """out = x dropped by `coins`, of which every value looks up its own.

    Args:
        x, out: dense, of one layout; they may be the same.
        coins: dense, int8 or bool.
        loops: at most `LOOPS` of them over the memory, outermost first: a size, and the step in the
            number of the coin.
        scale: of kept values, as float32 has it.
    """
    filled: list[Any] = [(1, 0)] * (LOOPS - len(loops)) + list(loops)
    count = x.numel()
    _apply[(triton.cdiv(count, _VALUES),)](
        _raw(x), _raw(out), coins.view(torch.int8), count, scale,
        *(size for size, _ in filled), *(step for _, step in filled),
        LARGE=max(count, coins.numel()) >= 2**31, VALUES=_VALUES,
    )  # fmt: skip


def _raw(x: Tensor) -> Tensor:
    """bfloat16 as the integers of its bits."""
    return x.view(torch.int16) if x.dtype == torch.bfloat16 else x

"""The specification's coins and their use, compiled for GPUs by Triton.

The kernels see a dense piece of memory, whatever its axes are. If coins have the order of the
values, one kernel draws and applies them, and reads nothing but x. Otherwise coins are drawn first,
a byte each, and every value looks up its own. There are far fewer of them then, or their neighbours
need them too (blocks). Seed and step are read on the device, so that the host never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mapdrop.spec.law import BlockAxis

LOOPS = 5
"""The loops over memory that `apply` can do at most."""

Words = tuple[int, int, int, int]
"""The hash of a stream's name."""

_BLOCKS = 256  # Philox blocks of a program, of four values each.
_VALUES = 1024  # Values of a program that looks up coins.

# Arguments for which a kernel is not compiled again if they are 1, or divisible by 16.
_WORD_ARGUMENTS = ["s0", "s1", "s2", "s3", "first", "threshold"]
_BLOCK_ARGUMENTS = ["inner", "n", "first", "last", "before", "after"]
_LOOP_ARGUMENTS = ["n0", "n1", "n2", "n3", "n4", "t0", "t1", "t2", "t3", "t4"]


@triton.jit
def _key(seed_tensor, s0, s1, s2, s3, STREAM: tl.constexpr):
    """Return the low and high word of the key: the seed, hashed with the stream if there is one."""
    seed = tl.load(seed_tensor)
    low, high = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    if STREAM:
        words = tl.philox_impl(
            s0.to(tl.uint32), s1.to(tl.uint32), s2.to(tl.uint32), s3.to(tl.uint32), low, high
        )
        low, high = words[0], words[1]
    return low, high


@triton.jit
def _words(
    seed_tensor,
    s0,
    s1,
    s2,
    s3,
    start,
    BLOCKS: tl.constexpr,
    STREAM: tl.constexpr,
    STEP: tl.constexpr,
):
    """Return the words of 4 * BLOCKS coins from number `start` on, a multiple of four."""
    low, high = _key(seed_tensor, s0, s1, s2, s3, STREAM)
    block = (start >> 2) + tl.arange(0, BLOCKS)
    c0, c1 = block.to(tl.uint32), (block >> 32).to(tl.uint32)
    c2, c3 = tl.zeros_like(c0), tl.zeros_like(c0)
    if STEP:
        step = tl.load(seed_tensor + 1)
        c2, c3 = c2 + step.to(tl.uint32), c3 + (step >> 32).to(tl.uint32)
    a, b, c, d = tl.philox_impl(c0, c1, c2, c3, low, high)
    return tl.interleave(tl.interleave(a, c), tl.interleave(b, d))


@triton.jit
def _dropped(value, kept, scale):
    """Return kept values times the scale, rounded once, and +0 for all others.

    bfloat16 is passed as int16 of the same bits. It is rounded here, to nearest and even: Triton's
    interpreter, in which these kernels are compared with the specification, truncates instead.
    """
    if value.dtype == tl.int16:
        wide = (value.to(tl.int32) << 16).to(tl.float32, bitcast=True) * scale
        bits = wide.to(tl.uint32, bitcast=True)
        near = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        # The sum could turn a NaN into an infinity, or a number.
        near = tl.where(wide == wide, near, (bits >> 16) | 0x40)
        scaled = near.to(tl.int16)
    else:
        scaled = (value.to(tl.float32) * scale).to(value.dtype)
    return tl.where(kept, scaled, tl.zeros_like(scaled))


@triton.jit(do_not_specialize=_WORD_ARGUMENTS)
def _elements(
    x,
    out,
    seed_tensor,
    s0,
    s1,
    s2,
    s3,
    first,
    count,
    threshold,
    scale,
    LEAD: tl.constexpr,
    BLOCKS: tl.constexpr,
    STREAM: tl.constexpr,
    STEP: tl.constexpr,
):
    """out = x dropped, where value i of the memory has coin `first` + LEAD + i."""
    start = tl.program_id(0).to(tl.int64) * (4 * BLOCKS)
    words = _words(seed_tensor, s0, s1, s2, s3, first + start, BLOCKS, STREAM, STEP)
    place = start - LEAD + tl.arange(0, 4 * BLOCKS)
    there = place < count
    if LEAD:  # A constant: without it, loads and stores are of four values at a time.
        there = there & (place >= 0)
    value = tl.load(x + place, mask=there, other=0)
    kept = words.to(tl.int64) >= threshold
    tl.store(out + place, _dropped(value, kept, scale), mask=there)


@triton.jit(do_not_specialize=_WORD_ARGUMENTS)
def _draw(
    out,
    seed_tensor,
    s0,
    s1,
    s2,
    s3,
    count,
    threshold,
    BLOCKS: tl.constexpr,
    STREAM: tl.constexpr,
    STEP: tl.constexpr,
):
    """out = a byte for each coin, 1 where its word is at least the threshold."""
    start = tl.program_id(0).to(tl.int64) * (4 * BLOCKS)
    words = _words(seed_tensor, s0, s1, s2, s3, start, BLOCKS, STREAM, STEP)
    place = start + tl.arange(0, 4 * BLOCKS)
    kept = words.to(tl.int64) >= threshold
    tl.store(out + place, kept.to(tl.int8), mask=place < count)


@triton.jit(do_not_specialize=_WORD_ARGUMENTS)
def _pack(
    out,
    seed_tensor,
    s0,
    s1,
    s2,
    s3,
    count,
    threshold,
    BLOCKS: tl.constexpr,
    STREAM: tl.constexpr,
    STEP: tl.constexpr,
):
    """out = a bit for each coin, 32 to a number from the lowest bit on, `count` numbers."""
    start = tl.program_id(0).to(tl.int64) * (4 * BLOCKS)
    words = _words(seed_tensor, s0, s1, s2, s3, start, BLOCKS, STREAM, STEP)
    kept = (words.to(tl.int64) >= threshold).to(tl.int32)
    bits = tl.reshape(kept, (BLOCKS // 8, 32)) << tl.arange(0, 32)[None, :]
    place = (start >> 5) + tl.arange(0, BLOCKS // 8)
    tl.store(out + place, tl.sum(bits, axis=1), mask=place < count)


@triton.jit(do_not_specialize=_BLOCK_ARGUMENTS)
def _clear(source, out, count, inner, n, first, last, before, after, VALUES: tl.constexpr):
    """out = 0 wherever a 0 of `source` is near along an axis of size n and stride `inner`.

    Near means from `before` places earlier to `after` later. Zeros count from `first` to `last`.
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


@triton.jit(do_not_specialize=_LOOP_ARGUMENTS)
def _apply(
    x,
    out,
    coins,
    count,
    scale,
    n0,
    n1,
    n2,
    n3,
    n4,
    t0,
    t1,
    t2,
    t3,
    t4,
    LARGE: tl.constexpr,
    VALUES: tl.constexpr,
):
    """out = x dropped by coins that are looked up. Memory is five loops of sizes n, steps t."""
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
    x: Tensor,
    out: Tensor,
    seed_tensor: Tensor,
    stream: Words | None,
    first: int,
    threshold: int,
    scale: float,
) -> None:
    """out = x dropped, where the values' memory has the coins from number `first` on.

    Args:
        x, out: dense, of one layout; they may be the same.
        seed_tensor: [seed] or [seed, step], int64, on the device of x.
        stream: its words, or None.
        first: see above.
        threshold: words below it are dropped, from 0 to 2**32.
        scale: of kept values, rounded to float32.
    """
    count, lead = x.numel(), first & 3
    _elements[(triton.cdiv(count + lead, 4 * _BLOCKS),)](
        _raw(x),
        _raw(out),
        seed_tensor,
        *(stream or (0,) * 4),
        first - lead,
        count,
        threshold,
        scale,
        LEAD=lead,
        BLOCKS=_BLOCKS,
        STREAM=stream is not None,
        STEP=seed_tensor.numel() > 1,
    )


def drawn(
    shape: tuple[int, ...], seed_tensor: Tensor, stream: Words | None, threshold: int
) -> Tensor:
    """Return the coins of a shape, int8: 1 where the word is at least the threshold."""
    made = torch.empty(shape, dtype=torch.int8, device=seed_tensor.device)
    if count := made.numel():
        _draw[(triton.cdiv(count, 4 * _BLOCKS),)](
            made,
            seed_tensor,
            *(stream or (0,) * 4),
            count,
            threshold,
            BLOCKS=_BLOCKS,
            STREAM=stream is not None,
            STEP=seed_tensor.numel() > 1,
        )
    return made


def packed(count: int, seed_tensor: Tensor, stream: Words | None, threshold: int) -> Tensor:
    """Return the first `count` coins, int32: a bit is 1 if its word is at least the threshold.

    The lowest bit of a number is its first coin. Bits after the last coin may have any value.
    """
    made = torch.empty(triton.cdiv(count, 32), dtype=torch.int32, device=seed_tensor.device)
    if count:
        _pack[(triton.cdiv(count, 4 * _BLOCKS),)](
            made,
            seed_tensor,
            *(stream or (0,) * 4),
            made.numel(),
            threshold,
            BLOCKS=_BLOCKS,
            STREAM=stream is not None,
            STEP=seed_tensor.numel() > 1,
        )
    return made


def cleared(coins: Tensor, block_axes: Sequence[BlockAxis]) -> Tensor:
    """Return coins that are 0 wherever a 0 of `coins` is the centre of a block around them.

    Args:
        coins: of centres.
        block_axes: what `mapdrop.spec.law.block_axes` returns.
    """
    for axis, size, n, first, last in block_axes:
        made = torch.empty_like(coins)
        if coins.numel():
            _clear[(triton.cdiv(coins.numel(), _VALUES),)](
                coins,
                made,
                coins.numel(),
                coins.stride(axis),
                n,
                first,
                last,
                size - size // 2 - 1,
                size // 2,
                VALUES=_VALUES,
            )
        coins = made
    return coins


def apply(
    x: Tensor, out: Tensor, coins: Tensor, loops: Sequence[tuple[int, int]], scale: float
) -> None:
    """out = x dropped by `coins`, of which every value looks up its own.

    Args:
        x, out: dense, of one layout; they may be the same.
        coins: dense, int8 or bool.
        loops: at most `LOOPS` loops over memory, outermost first: a size, and the step of the
            coin's number.
        scale: of kept values, rounded to float32.
    """
    filled: list[Any] = [(1, 0)] * (LOOPS - len(loops)) + list(loops)
    count = x.numel()
    _apply[(triton.cdiv(count, _VALUES),)](
        _raw(x),
        _raw(out),
        coins.view(torch.int8),
        count,
        scale,
        *(size for size, _ in filled),
        *(step for _, step in filled),
        LARGE=max(count, coins.numel()) >= 2**31,
        VALUES=_VALUES,
    )


def _raw(x: Tensor) -> Tensor:
    """Return bfloat16 as integers of the same bits."""
    return x.view(torch.int16) if x.dtype == torch.bfloat16 else x

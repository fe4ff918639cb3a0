"""Layers for maps of one, two and three dimensions, as patterns: what frameworks' layers share."""

from __future__ import annotations

from typing import Any

from mapdrop.spec.mask_spec import Sizes
from mapdrop.spec.pattern import PatternError

SPACE = {1: "t", 2: "h w", 3: "d h w"}
FORMATS = ("channels_first", "channels_last")


def axes(dims: int, data_format: str, batch: str = "") -> str:
    """The left side of a pattern: the batch's axis, if there is one, channels and space."""
    if data_format not in FORMATS:
        raise ValueError(f"data_format is one of {FORMATS}, not {data_format!r}")
    first = data_format == "channels_first"
    maps = f"c {SPACE[dims]}" if first else f"{SPACE[dims]} c"
    return f"{batch} {maps}" if batch else maps


def shared(share: Any) -> tuple[str, str]:
    """The batch's axis on both sides of a pattern, where `share` samples have one mask."""
    if isinstance(share, bool) or not isinstance(share, int) or share < 1:
        raise ValueError(f"share is how many samples have one mask, from 1 on, not {share!r}")
    return ("b", "b") if share == 1 else (f"(m {share})", "m")


def blocks(dims: int, block_size: int | tuple[int, ...]) -> Sizes:
    """`block=` for one size, or for one of each axis of space."""
    space = SPACE[dims].split()
    sizes = block_size if isinstance(block_size, tuple) else (block_size,) * dims
    if len(sizes) != dims:
        raise ValueError(
            f"block_size is one size or {dims} of them ({', '.join(space)}), not {block_size!r}"
        )
    return tuple(zip(space, sizes, strict=True))


def block_size(block: Sizes) -> int | tuple[int, ...]:
    """What `blocks` was made from: one size, or one of each axis where they differ."""
    sizes = tuple(size for _, size in block)
    return sizes if len(set(sizes)) > 1 else sizes[0]


def wrong_rank(
    family: str, dims: int, pattern: str, shape: tuple[int, ...], batch: bool
) -> PatternError:
    """What a layer says to an array of another rank: which layer to use instead."""
    rank, extra = dims + 1 + batch, 1 + batch
    kind = "batch" if batch else "sample without a batch axis"
    instead = f"a {kind} with {rank} axes"
    if len(shape) - extra in SPACE:
        instead = f"{family}{len(shape) - extra}d for a {kind} with {len(shape)} axes"
    if batch and len(shape) == rank - 1:
        instead += ", x[None] for one sample without a batch axis"
    if not batch and len(shape) == rank + 1:
        instead += ", jax.vmap for a batch, with a key for each sample"
    return PatternError(
        f"{family}{dims}d takes {rank} axes, the array has {len(shape)}", pattern, 0, instead, shape
    )

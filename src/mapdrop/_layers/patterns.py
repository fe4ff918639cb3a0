"""Patterns of the layers for maps of one, two and three dimensions, in every framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mapdrop.spec.mask_spec import Sizes
from mapdrop.spec.pattern import PatternError

SPACE = {1: "t", 2: "h w", 3: "d h w"}
FORMATS = ("channels_first", "channels_last")


def axes(dims: int, data_format: str, batch: str = "") -> str:
    """Return the left side of a pattern: the batch's axis, if there is one, channels and space."""
    if data_format not in FORMATS:
        raise ValueError(f"data_format is one of {FORMATS}, not {data_format!r}")
    first = data_format == "channels_first"
    return f"{batch} c {SPACE[dims]}".lstrip() if first else f"{batch} {SPACE[dims]} c".lstrip()


def shared(share: Any) -> tuple[str, str]:
    """Return the batch's axis on both sides of a pattern in which `share` samples have one mask."""
    if isinstance(share, bool) or not isinstance(share, int) or share < 1:
        raise ValueError(f"share is how many samples have one mask, from 1 on, not {share!r}")
    return ("b", "b") if share == 1 else (f"(m {share})", "m")


def blocks(dims: int, block_size: int | Sequence[int]) -> dict[str, int]:
    """Return `block=` for one size, or for a size of each axis of space."""
    space = SPACE[dims].split()
    # Of a tuple JSON makes a list.
    sizes = block_size if isinstance(block_size, (tuple, list)) else (block_size,) * dims
    if len(sizes) != dims:
        raise ValueError(
            f"block_size is one size or {dims} of them ({', '.join(space)}), not {block_size!r}"
        )
    return dict(zip(space, sizes, strict=True))


class RankCheck:
    """A layer that takes maps of `dims` dimensions, or any array where `dims` is 0.

    It compares ranks where it is called: a call from there would cost more than the comparison.

    Attributes:
        family: the layer's name, with {} for its dimensions.
        batched: whether its arrays have a batch axis.
        other_rank: what to do with an array that has, or lacks, the axis of a batch.
    """

    dims: ClassVar[int] = 0
    family: ClassVar[str]
    batched: ClassVar[bool] = True
    other_rank: ClassVar[str]
    pattern: str

    def __init_subclass__(cls, dims: int | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if dims is not None:
            cls.dims = dims

    def _wrong_rank(self, shape: Sequence[int | None]) -> PatternError:
        """Return the error for an array of another rank, which says which layer to use."""
        rank, extra = len(shape), 1 + self.batched
        kind = "batch" if self.batched else "sample without a batch axis"
        instead = f"a {kind} with {self.dims + extra} axes"
        if rank - extra in SPACE:
            instead = f"{self.family.format(rank - extra)} for a {kind} with {rank} axes"
        if rank == self.dims + (1 if self.batched else 2):
            instead += f", {self.other_rank}"
        return PatternError(
            f"{type(self).__name__} takes {self.dims + extra} axes, the array has {rank}",
            self.pattern,
            0,
            instead,
            tuple(shape),
        )


class BlockSize(RankCheck):
    """A layer that drops blocks, whose sizes may be set again."""

    block: Sizes

    @property
    def block_size(self) -> int | tuple[int, ...]:
        """The block's side, or one size for each axis where they differ."""
        sizes = tuple(size for _, size in self.block)
        return sizes if len(set(sizes)) > 1 else sizes[0]

    @block_size.setter
    def block_size(self, size: int | Sequence[int]) -> None:
        self.block = tuple(blocks(self.dims, size).items())

"""Which part of a whole array a tensor is, by a context or by a DTensor's placements."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mapdrop.backends.torch._internals import SHARDS_LACK, graph_task, stash, stashed
from mapdrop.backends.torch.generator import fresh
from mapdrop.spec.sharding import Shard

_KEY = "mapdrop_shards"


class _Held(threading.local):
    """The shards of each thread. torch.compile guards an attribute of an instance."""

    def __init__(self) -> None:
        self.shards: tuple[Shard, ...] = ()


_held = _Held()


def current() -> tuple[Shard, ...]:
    """Return the active shards of this thread, outermost first.

    In backward, which PyTorch may run in threads of its own, those of the thread that called it.
    """
    return _held.shards if torch.compiler.is_compiling() else current_in_eager_code()


def current_in_eager_code() -> tuple[Shard, ...]:
    """See `current`: for every drop of eager code, which does not ask once more what it is."""
    if graph_task() < 0:
        return _held.shards
    found: tuple[Shard, ...] = stashed(_KEY, ())
    return found


def held(rank: int) -> tuple[Shard, ...]:
    """Return the active shards for tensors of `rank` axes, their axes counted from the last."""
    return tuple([shard.from_the_last(rank) for shard in current()])


@contextmanager
def holding(shards: tuple[Shard, ...]) -> Iterator[None]:
    """Nest these shards inside the active ones."""
    before = current()
    _hold(before + shards)
    try:
        yield
    finally:
        _hold(before)


def _hold(shards: tuple[Shard, ...]) -> None:
    if SHARDS_LACK and shards:
        raise RuntimeError(f"{SHARDS_LACK}; drop whole arrays, or use another version")
    _held.shards = shards
    if not torch.compiler.is_compiling():
        stash(_KEY, shards)


@contextmanager
def shard(
    dim: int, rank: int, ranks: int, *, size: int | None = None, strided: bool = False
) -> Iterator[None]:
    """Take each tensor that drops within it for one of `ranks` parts of a larger one.

    Every process then draws just its own part of the whole tensor's mask, so a run on one, two or
    four processes drops the same values of the same samples. The seed must be the same everywhere:
    `seed=`, `mapdrop.torch.seeded`, or generators that are in the same state. A DTensor needs no
    context: its placements say the same.

    The context belongs to its thread, and to the backward that is called in it.

    Nested contexts cut the part again: inside one for the process, ``shard(0, i, k)`` is part i of
    k of its batch, as gradient accumulation takes them. Layers whose input is whole on every
    process (behind a gathering of all parts) belong outside. Where a layer is recomputed in
    backward, under activation checkpointing, backward belongs inside.

    Args:
        dim: the axis that is cut: 0 for data parallel; negative numbers count from the last.
        rank: which part this is, from 0 on.
        ranks: how many parts there are.
        size: how long the whole axis is; None where all parts are equally long.
        strided: this process has the indices rank, rank + ranks, ... as DistributedSampler deals
            them, not consecutive ones as torch.chunk and DTensor cut them.

    Raises:
        ValueError: where rank, ranks or size is out of its range; and by `drop`, where a tensor is
            not as long as its part.
        TypeError: for what is no whole number.
        RuntimeError: where this version of PyTorch lacks what shards need.

    Examples:
        >>> x = torch.ones(8, 6, 4, 4)
        >>> whole = mapdrop.drop(x, "b c h w -> b c", 0.5, seed=7)
        >>> with mapdrop.torch.shard(0, rank=1, ranks=4):
        ...     mine = mapdrop.drop(x[2:4], "b c h w -> b c", 0.5, seed=7)
        >>> torch.equal(mine, whole[2:4])
        True
    """
    with holding((_checked(dim, rank, ranks, size, strided),)):
        yield


def _checked(dim: Any, rank: Any, ranks: Any, size: Any, strided: bool) -> Shard:
    given = {"dim": dim, "rank": rank, "ranks": ranks, "size": 1 if size is None else size}
    for name, number in given.items():
        if isinstance(number, bool) or not hasattr(number, "__index__"):
            raise TypeError(f"{name} is a whole number, not {number!r}")
    if not 0 <= rank < ranks:
        raise ValueError(f"rank is the number of the part, from 0 to ranks - 1: {rank} of {ranks}")
    if given["size"] < 0:
        raise ValueError(f"size is how long the whole axis is, not {size}")
    whole = None if size is None else int(size)
    return Shard(int(dim), int(rank), int(ranks), whole, bool(strided))


def distributed(x: Tensor) -> bool:
    """Whether x is a DTensor, which takes its module imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return isinstance(x, getattr(module, "DTensor", ()))


def drop_local(x: Any, seed: Any, drop: Callable[..., Tensor]) -> Any:
    """Call `drop(local, seed=seed)` on this process's part of a DTensor."""
    from torch.distributed.tensor import DTensor, Replicate

    mesh, placements = x.device_mesh, x.placements
    # An unreduced sum has the whole gradient on every process.
    back = [Replicate() if place.is_partial() else place for place in placements]
    local = x.to_local(grad_placements=back)
    if seed is None or isinstance(seed, torch.Generator):
        seed = _agreed(fresh(local.device, seed), mesh)
    elif isinstance(seed, DTensor):
        seed = seed.to_local()
    with holding(_placed(x.shape, mesh, placements)):
        made = drop(local, seed=seed)
    return DTensor.from_local(
        made, mesh, placements, run_check=False, shape=x.shape, stride=x.stride()
    )


def _placed(shape: torch.Size, mesh: Any, placements: Any) -> tuple[Shard, ...]:
    from torch.distributed import tensor

    found: list[Shard] = []
    left = list(shape)
    for axis, place in enumerate(placements):
        if not (place.is_partial() or place.is_replicate() or type(place) is tensor.Shard):
            raise TypeError(f"{place} deals an axis out twice: redistribute the DTensor to Shard")
        if place.is_partial() and place.reduce_op not in ("sum", "avg"):
            raise TypeError(f"{place} is no sum, so dropping must wait: redistribute it first")
        if type(place) is tensor.Shard:
            cut = Shard(place.dim, mesh.get_local_rank(axis), mesh.size(axis), left[place.dim])
            left[place.dim] = cut.local(left[place.dim])
            found.append(cut)
    return tuple(found)


def _agreed(seed: Tensor, mesh: Any) -> Tensor:
    """Return the first process's seed, on every process of the mesh."""
    for axis in range(mesh.ndim):
        torch.distributed.broadcast(seed, group=mesh.get_group(axis), group_src=0)
    return seed

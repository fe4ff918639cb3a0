"""The processes that train one model together, started by torchrun; usually there is only one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mapdrop.localize.run.folder import RunError
from mapdrop.torch import shard


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    Attributes:
        rank, ranks: which of how many.
        device: where its part of every batch is.
    """

    device: torch.device
    rank: int = 0
    ranks: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and speaks."""
        return self.rank == 0

    def check(self, batch: int) -> None:
        """Raises RunError unless a batch can be shared evenly."""
        if batch % self.ranks:
            raise RunError(
                f"a batch of {batch} can't be shared by {self.ranks} processes; "
                "use a --batch that is a multiple of that"
            )

    def shared(self, stage: nn.Module) -> nn.Module:
        """`stage`, whose gradients are averaged over all processes."""
        if self.ranks == 1:
            return stage
        return DistributedDataParallel(stage)

    def part(self, batch: int) -> AbstractContextManager[object]:
        """Within it dropout draws this process's part of the masks of a batch of that size."""
        if self.ranks == 1:
            return nullcontext()
        return shard(0, self.rank, self.ranks, size=batch)

    def agreed(self, value: float) -> float:
        """The leader's value, to all: where rounding differs, they still decide alike."""
        return self._exchanged(value if self.leads else 0.0)

    def summed(self, value: float) -> float:
        """The sum over all processes, to all."""
        return self._exchanged(value)

    def wait(self) -> None:
        """For all the others."""
        self._exchanged(0.0)

    def _exchanged(self, value: float) -> float:
        if self.ranks == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total)


@contextmanager
def team(device: str | None = None) -> Iterator[Team]:
    """The team that this process belongs to: torchrun's, or itself alone.

    Args:
        device: as torch names it. None is a GPU where there is one.

    Raises:
        RunError: for a device that is not there.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = _device(device, local)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Team(chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Team(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _device(name: str | None, local: int) -> torch.device:
    if name is None:
        return torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # Builds without CUDA raise the latter.
        raise RunError(f"there is no device {name!r} here: {error}") from error
    several = device.type == "cuda" and device.index is None
    return torch.device("cuda", local) if several else device

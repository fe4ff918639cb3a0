"""The processes that train one model together under torchrun; usually only one."""

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
class ProcessGroup:
    """This process, as one of those that train together.

    Attributes:
        device: holds this process's shard of each batch.
        rank: number of this process, from 0.
        world_size: number of processes.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Return whether this process writes files and reports progress."""
        return self.rank == 0

    def check_batch(self, batch: int) -> None:
        """Raise RunError unless a batch of this size can be sharded evenly."""
        if batch % self.world_size:
            raise RunError(
                f"a batch of {batch} can't be shared evenly by {self.world_size} processes; "
                "use a --batch that is a multiple of that"
            )

    def wrap(self, stage: nn.Module) -> nn.Module:
        """Wrap `stage` so that gradients are averaged over all processes."""
        if self.world_size == 1:
            return stage
        return DistributedDataParallel(stage)

    def shard_masks(self, batch: int) -> AbstractContextManager[object]:
        """Within the context, dropout draws this process's shard of the masks of a batch."""
        if self.world_size == 1:
            return nullcontext()
        return shard(0, self.rank, self.world_size, size=batch)

    def broadcast(self, value: float) -> float:
        """Return the main process's value, so that all decide alike despite rounding."""
        return self._all_reduce(value if self.is_main else 0.0)

    def all_reduce(self, value: float) -> float:
        """Return the sum over all processes."""
        return self._all_reduce(value)

    def barrier(self) -> None:
        """Wait for all other processes."""
        self._all_reduce(0.0)

    def _all_reduce(self, value: float) -> float:
        if self.world_size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total)


@contextmanager
def process_group(device: str | None = None) -> Iterator[ProcessGroup]:
    """Enter torchrun's process group, or a group of this process alone.

    Args:
        device: a torch device. None means a GPU if there is one, else the CPU.

    Raises:
        RunError: when the device doesn't exist.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    resolved = _device(device, local_rank)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ProcessGroup(resolved)
        return
    if resolved.type == "cuda":
        torch.cuda.set_device(resolved)
    dist.init_process_group("nccl" if resolved.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(resolved, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _device(name: str | None, local_rank: int) -> torch.device:
    if name is None:
        return (
            torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
        )
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # Builds without CUDA raise AssertionError.
        raise RunError(f"there is no device {name!r} here: {error}") from error
    needs_index = device.type == "cuda" and device.index is None
    return torch.device("cuda", local_rank) if needs_index else device

"""What the processes of test_residual_ranks.py do: python -m tests...residual_ranks FOLDER KIND."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from mapdrop.torch import DropPath, compact
from tests.torch.compact.agreement import ALWAYS

RANKS, SAMPLES, WIDTH, STEPS = 2, 2, 8, 6
Gradients = list[Tensor]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU())
        self.drop = DropPath(0.7)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.drop(self.branch(x))
        return y


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block()).double()


def inputs(rank: int) -> Tensor:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(SAMPLES, 3, WIDTH, dtype=torch.float64, generator=generator)


def backward(net: nn.Module, rank: int, step: int) -> None:
    """Run a step whose masks depend on rank and step."""
    torch.manual_seed(10 * step + rank)
    net(inputs(rank)).square().sum().backward()


def wanted(step: int) -> Gradients:
    """Return one process's gradients: the mean over what the ranks have."""
    net = model()
    for rank in range(RANKS):
        backward(net, rank, step)
    return [p.grad / RANKS for p in net.parameters() if p.grad is not None]


def kept(net: nn.Module) -> list[int]:
    """Return how many samples each branch of the last step kept."""
    found = []
    for made in net._mapdrop_engine.last:  # type: ignore[union-attr]
        drops = made.analysis.branches.drops
        found += [made.last.kept.count(frozenset({drop.number})) for drop in drops]
    return found


def replicated(net: nn.Sequential) -> tuple[nn.Module, list[nn.Module]]:
    fast = compact(net, ALWAYS)
    return DistributedDataParallel(fast), [fast]


def sharded(net: nn.Sequential) -> tuple[nn.Module, list[nn.Module]]:
    blocks = [compact(block, ALWAYS) for block in net]
    whole = nn.Sequential(*blocks)
    mesh = dist.device_mesh.init_device_mesh("cpu", (RANKS,))
    for part in (*blocks, whole):
        fully_shard(part, mesh=mesh)
    return whole, blocks


KINDS = {"replicated": replicated, "sharded": sharded}


def gradient(p: nn.Parameter) -> Tensor:
    grad: Any = p.grad
    whole: Tensor = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
    return whole


def work(rank: int, folder: str, kind: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/{kind}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=RANKS)
    net, views = KINDS[kind](model())
    counts = []
    for step in range(STEPS):
        net.zero_grad()
        backward(net, rank, step)
        found = [gradient(p) for p in net.parameters()]
        torch.testing.assert_close(found, wanted(step), rtol=1e-10, atol=1e-10)
        counts.append([n for view in views for n in kept(view)])
    torch.save(counts, Path(folder) / f"{kind}-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    start_processes(work, sys.argv[1:], RANKS, start_method="fork")

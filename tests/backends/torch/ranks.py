"""What the processes of test_ranks.py do: python ranks.py FOLDER forks 1, 2 and 4 of them."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

import mapdrop
from mapdrop.torch import DropBlock2d, Dropout, SpatialDropout2d, seeded, shard

STEPS, BATCH = 12, 8
OPTIONS: dict[str, Any] = {"p": 0.4, "stream": "a", "step": 5}
REQUESTS: dict[str, dict[str, Any]] = {
    "element": {"pattern": "b c h w -> b c h w"},
    "spatial": {"pattern": "b c h w -> b c"},
    "shared": {"pattern": "(m 3) c h w -> m c"},
    "exact": {"pattern": "b c h w -> b c", "exact": "c"},
    "block": {"pattern": "b c h w -> b h w c", "block": {"h": 3, "w": 2}},
    "sample scale": {"pattern": "b c h w -> b c", "scale": "sample"},
}
MESHES: dict[int, list[tuple[tuple[int, ...], tuple[Any, ...]]]] = {
    1: [((1,), (Shard(0),))],
    2: [((2,), (Shard(0),)), ((2,), (Shard(3),)), ((2,), (Replicate(),))],
    4: [
        ((4,), (Shard(1),)), ((2, 2), (Shard(0), Shard(1))), ((2, 2), (Shard(0), Shard(0))),
        ((2, 2), (Replicate(), Shard(2))),
    ],
}  # fmt: skip


def model() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), SpatialDropout2d(0.5, share=2, balance=True),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), DropBlock2d(0.2, 3), Dropout(0.2), nn.Flatten(),
        nn.Linear(8 * 36, 1),
    ).double()  # fmt: skip
    return seeded(net, 7)


def losses(strided: bool, told: bool) -> list[float]:
    """Of the global batches, where `told` says whether the processes know of each other."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    net = DistributedDataParallel(model())
    optimizer = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9)
    x = torch.randn(STEPS, BATCH, 3, 6, 6, generator=torch.Generator().manual_seed(1)).double()
    y = x.mean((2, 3, 4))[..., None]
    own = (
        slice(rank, None, ranks)
        if strided
        else slice(*[BATCH // ranks * r for r in (rank, rank + 1)])
    )
    found = []
    with shard(0, rank, ranks, strided=strided) if told else nullcontext():
        for inputs, targets in zip(x, y, strict=True):
            loss = (net(inputs[own]) - targets[own]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mean = loss.detach().clone()
            dist.all_reduce(mean)
            found.append(float(mean) / ranks)
    return found


def placed(x: Tensor, shape: tuple[int, ...], placements: tuple[Any, ...]) -> DTensor:
    mesh = dist.device_mesh.init_device_mesh("cpu", shape)
    return distribute_tensor(x, mesh, placements)


def dtensors() -> int:
    """Each request and placement against the whole tensor; how many were compared."""
    whole = torch.randn(6, 7, 5, 4, generator=torch.Generator().manual_seed(2))
    compared = 0
    for shape, placements in MESHES[dist.get_world_size()]:
        for request in REQUESTS.values():
            wanted = mapdrop.drop(whole, seed=3, **OPTIONS, **request)
            x: Any = placed(whole, shape, placements).requires_grad_()
            y: Any = mapdrop.drop(x, seed=3, **OPTIONS, **request)
            assert y.placements == x.placements
            assert torch.equal(y.full_tensor(), wanted), (shape, placements, request)
            y.full_tensor().sum().backward()
            gradient = x.grad.full_tensor()
            ones = mapdrop.drop(torch.ones_like(whole), seed=3, **OPTIONS, **request)
            assert torch.equal(gradient, ones), (shape, placements, request)
            compared += 1
    return compared


def open_sums() -> None:
    """A sum that is still open drops as the sum does; a maximum has to wait."""
    ranks = dist.get_world_size()
    mesh = dist.device_mesh.init_device_mesh("cpu", (ranks,))
    local = torch.full((4, 6), float(dist.get_rank() + 1), requires_grad=True)
    x = DTensor.from_local(local, mesh, [Partial()], run_check=False)
    y: Any = mapdrop.drop(x, "b c -> b c", 0.5, seed=3)
    wanted = mapdrop.drop(torch.full((4, 6), ranks * (ranks + 1) / 2), "b c -> b c", 0.5, seed=3)
    assert torch.equal(y.full_tensor(), wanted)
    y.full_tensor().sum().backward()
    assert torch.equal(local.grad != 0, wanted != 0)  # type: ignore[arg-type]
    assert local.grad is not None
    assert torch.equal(local.grad[wanted != 0].unique(), torch.tensor([2.0]))
    maximum = DTensor.from_local(local, mesh, [Partial("max")], run_check=False)
    with pytest.raises(TypeError, match="redistribute"):
        mapdrop.drop(maximum, "b c -> b c", 0.5, seed=3)


def agreed() -> None:
    """Without a seed all processes use the first one's, whatever their generators' states are."""
    torch.manual_seed(100 + dist.get_rank())
    x = placed(torch.ones(4, 6, 3, 3), (dist.get_world_size(),), (Replicate(),))
    mine = mapdrop.drop(x, "b c h w -> b c h w", 0.5).to_local()
    everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, mine)
    assert all(torch.equal(other, mine) for other in everyone)
    assert 0 < (mine == 0).sum() < mine.numel()


def run(rank: int, ranks: int, folder: Path) -> None:
    """Be process `rank` of `ranks`; the first writes what was found."""
    meeting = f"file://{folder / str(ranks)}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks)
    result = {
        "contiguous": losses(strided=False, told=True),
        "strided": losses(strided=True, told=True),
        "untold": losses(strided=False, told=False),
        "dtensors": dtensors(),
    }
    open_sums()
    agreed()
    if rank == 0:
        (folder / f"{ranks}.json").write_text(json.dumps(result))
    dist.barrier()  # Who leaves while another still reads may end both.
    dist.destroy_process_group()


def main(folder: Path) -> None:
    """Fork the processes of each size in turn. What a training imports is loaded before, once."""
    torch.set_num_threads(1)
    model()(torch.ones(1, 3, 6, 6).double())
    import_module("torch._dynamo")  # By the wrapper that averages gradients.
    for ranks in MESHES:
        start_processes(run, (ranks, folder), ranks, start_method="fork")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""What the two processes of test_ranks.py do: python ranks.py FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import start_processes

import mapdrop.torch as md


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2), md.Dropout(0.2))


def found(model: nn.Module) -> list[str]:
    return [str(finding) for finding in md.audit(model, torch.zeros(4, 8)).findings]


def run(rank: int, folder: Path) -> None:
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    result = {}
    torch.manual_seed(3)
    result["one seed"] = found(net())
    with md.shard(0, rank, 2):
        result["shard"] = found(net())
    torch.manual_seed(rank)
    result["own seeds"] = found(net())
    torch.manual_seed(rank)
    result["seeded"] = found(md.seeded(net(), 7))
    result["seeded by rank"] = found(md.seeded(net(), rank))
    torch.manual_seed(3)
    result["no dropout"] = found(nn.Linear(8, 8))
    (folder / f"{rank}.json").write_text(json.dumps(result))
    dist.barrier()  # Who leaves while another still reads may end both.
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    found(net())  # Loads what takes long before there are two.
    start_processes(run, (Path(sys.argv[1]),), 2, start_method="fork")

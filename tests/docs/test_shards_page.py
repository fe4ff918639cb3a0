"""docs/shards.md: its code runs, in a group of one process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import framework

PAGE = Path(__file__).parents[2] / "docs" / "shards.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def names(tmp_path: Path) -> Iterator[dict[str, Any]]:
    torch = framework("torch")
    from torch.distributed import tensor
    from torch.nn.parallel import DistributedDataParallel

    import mapdrop.torch

    at = f"file://{tmp_path}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=at, rank=0, world_size=1)
    net = torch.nn.Sequential(torch.nn.Conv2d(6, 8, 3), mapdrop.torch.SpatialDropout2d(0.5))
    yield {
        "mapdrop": mapdrop, "net": net, "x": torch.ones(8, 6, 4, 4), "rank": 0, "ranks": 1,
        "DistributedDataParallel": DistributedDataParallel, "Shard": tensor.Shard,
        "distribute_tensor": tensor.distribute_tensor,
        "mesh": torch.distributed.device_mesh.init_device_mesh("cpu", (1,)),
    }  # fmt: skip
    torch.distributed.destroy_process_group()


def test_its_code_runs(names: dict[str, Any]) -> None:
    assert len(BLOCKS) == 3
    net = names["net"]
    for block in BLOCKS:
        exec(block, names)
    assert net[0].weight.grad.abs().sum() > 0
    assert type(names["y"]).__name__ == "DTensor"
    dropped = (names["y"].full_tensor() == 0).float().mean()
    assert 0 < dropped < 1

"""Whether all processes of a group drop the same values of different samples."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import torch
from torch import distributed, nn

from mapdrop.backends.torch.sharding import current
from mapdrop.torch.layers import Drop


def alike(model: nn.Module) -> str:
    """Return why all processes of the default group drop alike; "" if they do not.

    All of them must call it.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return ""
    if distributed.get_world_size() < 2 or current():
        return ""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    sources = [m.source for m in model.modules() if isinstance(m, Drop) and m.source is not None]
    seeds = [f"{s.seed} {s.stream} {s.count}" for s in sources]
    generators = [torch.get_rng_state()]
    if device.type == "cuda":
        generators.append(torch.cuda.get_rng_state(device))
    if _is_everywhere([g.numpy().tobytes() for g in generators], device):
        return "PyTorch's generator has the same state in all processes"
    if _is_everywhere([text.encode() for text in seeds], device) and seeds:
        return "the model is seeded alike in all processes, without mapdrop.torch.shard"
    return ""


def _is_everywhere(parts: Iterable[bytes], device: Any) -> bool:
    """Return whether all processes have the same bytes."""
    digest = blake2b(b"\0".join(parts), digest_size=8).digest()
    number = torch.tensor([int.from_bytes(digest, "little", signed=True)], device=device)
    every = [torch.empty_like(number) for _ in range(distributed.get_world_size())]
    distributed.all_gather(every, number)
    return all(bool(other == number) for other in every)

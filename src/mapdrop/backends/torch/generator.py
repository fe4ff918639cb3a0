"""Random numbers from PyTorch's generators, and what PyTorch is doing at the moment."""

from __future__ import annotations

import torch
from torch import Tensor

from mapdrop.backends.torch._internals import dispatch_modes, graph_task, is_tracing


def fresh(device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Return 64 bits from PyTorch's generator for the device, or from the one given."""
    return torch.randint(-(2**63), 2**63 - 1, (1,), device=device, generator=generator)


def fresh_seed(like: Tensor, rate: Tensor | None = None) -> Tensor:
    """Return the same for a tensor's device, as an operation that graphs record.

    At a rate of 0 nothing is drawn, as eager code draws nothing then.
    """
    seed: Tensor = torch.ops.mapdrop.fresh_seed(*(like,) if rate is None else (like, rate))
    return seed


def recorded() -> bool:
    """Whether PyTorch records operations instead of running them."""
    return torch.compiler.is_compiling() or dispatch_modes() > 0 or is_tracing()


def in_backward() -> bool:
    """Whether autograd is running backward, so that a layer that is called is recomputed."""
    return graph_task() >= 0

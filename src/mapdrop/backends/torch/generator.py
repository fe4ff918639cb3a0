"""Random numbers from PyTorch's generators, and what PyTorch is doing at the moment."""

from __future__ import annotations

import torch
from torch import Tensor


def fresh(device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Return 64 bits from PyTorch's generator for the device, or from the one given."""
    return torch.randint(-(2**63), 2**63 - 1, (1,), device=device, generator=generator)


def recorded() -> bool:
    """Whether PyTorch records operations instead of running them."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._is_tracing()
    )


def in_backward() -> bool:
    """Whether autograd is running backward, so that a layer that is called is recomputed."""
    return torch._C._current_graph_task_id() >= 0

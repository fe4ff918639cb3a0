"""Numbers from PyTorch's own generators, eager and recorded."""

from __future__ import annotations

import torch
from torch import Tensor


def fresh(device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """64 bits from the framework's own generator for the device."""
    return torch.randint(-(2**63), 2**63 - 1, (1,), device=device, generator=generator)


def recorded() -> bool:
    """Whether operations are written down by PyTorch rather than done."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._is_tracing()
    )


def in_backward() -> bool:
    """Whether autograd runs, so that a layer that is called is recomputed."""
    return torch._C._current_graph_task_id() >= 0

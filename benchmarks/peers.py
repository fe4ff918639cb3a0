"""Peers that cannot be installed beside the pinned PyTorch, written from their published code."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def torchvision_drop_block2d(x: Tensor, p: float, block_size: int, eps: float = 1e-06) -> Tensor:
    """torchvision.ops.drop_block2d, as of 0.20."""
    n, c, h, w = x.size()
    block_size = min(block_size, w, h)
    gamma = (p * h * w) / ((block_size**2) * ((h - block_size + 1) * (w - block_size + 1)))
    noise = torch.empty(
        (n, c, h - block_size + 1, w - block_size + 1), dtype=x.dtype, device=x.device
    )
    noise.bernoulli_(gamma)
    noise = functional.pad(noise, [block_size // 2] * 4, value=0)
    noise = functional.max_pool2d(
        noise, stride=(1, 1), kernel_size=(block_size, block_size), padding=block_size // 2
    )
    noise = 1 - noise
    return x * noise * (noise.numel() / (eps + noise.sum()))

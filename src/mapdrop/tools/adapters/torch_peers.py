"""What torchvision and timm do, written from their published algorithms: they need not be here."""

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


def timm_drop_block_2d(x: Tensor, p: float, block_size: int) -> Tensor:
    """timm.layers.drop_block_2d, as of 1.0.23 with couple_channels=False: centres anywhere."""
    _, _, h, w = x.shape
    clipped = min(block_size, w, h)
    gamma = p * w * h / clipped**2 / ((w - block_size + 1) * (h - block_size + 1))
    centres = torch.empty_like(x).bernoulli_(gamma)
    dropped = functional.max_pool2d(centres, clipped, stride=1, padding=clipped // 2)
    mask = 1 - dropped
    return x * mask * (mask.numel() / mask.to(torch.float32).sum().add(1e-7)).to(x.dtype)


def timm_drop_path(x: Tensor, p: float) -> Tensor:
    """timm.layers.drop_path, as of 1.0: a coin for each sample."""
    coins = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - p)
    return x * coins.div_(1 - p)


def torchvision_stochastic_depth(x: Tensor, p: float) -> Tensor:
    """torchvision.ops.stochastic_depth by rows, as of 0.20."""
    noise = torch.empty([x.shape[0]] + [1] * (x.ndim - 1), dtype=x.dtype, device=x.device)
    noise = noise.bernoulli_(1 - p)
    return x * noise.div_(1 - p)

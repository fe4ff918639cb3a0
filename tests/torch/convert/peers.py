"""Drop layers with the names and attributes of those of other libraries.

Those that convert knows by their attributes alone fail when they are called.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Peer(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        for name, value in settings.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("convert should have replaced this layer")


class _Path(Peer):
    """Drops whole samples, or the whole batch."""

    drop_prob: float | None
    mode, scale_by_keep = "row", True

    def forward(self, x: Tensor) -> Tensor:
        p = self.drop_prob or 0.0
        if not self.training or p == 0:
            return x
        rows = x.shape[0] if self.mode == "row" else 1
        kept = x.new_empty(rows, *[1] * (x.dim() - 1)).bernoulli_(1 - p)
        return x * (kept / (1 - p) if self.scale_by_keep and p < 1 else kept)


class DropPath(_Path):
    """timm's and MONAI's."""

    def __init__(self, drop_prob: float = 0.25, scale_by_keep: bool = True) -> None:
        super().__init__(drop_prob=drop_prob, scale_by_keep=scale_by_keep)


class Dinov2DropPath(_Path):
    """As the transformers package names it in each of its files."""

    def __init__(self, drop_prob: float | None = 0.25) -> None:
        super().__init__(drop_prob=drop_prob)


class StochasticDepth(_Path):
    """torchvision's."""

    def __init__(self, p: float = 0.25, mode: str = "row") -> None:
        super().__init__(p=p, mode=mode)

    @property
    def drop_prob(self) -> float:  # type: ignore[override]
        rate: float = vars(self)["p"]
        return rate


class DropBlock3d(Peer):
    """torchvision's; its 2d has the same attributes."""

    def __init__(self, p: float = 0.25, block_size: int = 3, inplace: bool = False) -> None:
        super().__init__(p=p, block_size=block_size, inplace=inplace, eps=1e-6)


def torchvision_block(**settings: Any) -> nn.Module:
    block: nn.Module = type("DropBlock2d", (DropBlock3d,), {})(**settings)
    return block


def timm_block(**settings: Any) -> nn.Module:
    """timm's, from 1.0.23 on."""
    return _block({"couple_channels": True, "scale_by_keep": True}, settings)


def old_timm_block(**settings: Any) -> nn.Module:
    """timm's, before 1.0.23."""
    return _block({"batchwise": False, "fast": True}, settings)


def _block(own: dict[str, Any], settings: dict[str, Any]) -> nn.Module:
    common = {"drop_prob": 0.25, "gamma_scale": 1.0, "block_size": 3, "with_noise": False}
    made = type("DropBlock2d", (Peer,), {})(**{**common, "inplace": False, **own, **settings})
    assert isinstance(made, nn.Module)
    return made


class Gaussian(nn.Dropout):
    """A subclass that does something else."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.p * torch.randn_like(x)

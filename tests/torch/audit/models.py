"""Networks with one fault each, and right ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 8
X4, X3 = torch.zeros(4, WIDTH, 6, 6), torch.zeros(4, 10, WIDTH)


class Applied(nn.Module):
    """A Linear layer, and a function behind it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.function = nn.Linear(WIDTH, WIDTH), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.linear(x))


class Functional(nn.Module):
    """Drops by a function, with or without an eye on its mode."""

    def __init__(self, heed_mode: bool) -> None:
        super().__init__()
        self.linear, self.heed_mode = nn.Linear(WIDTH, WIDTH), heed_mode

    def forward(self, x: Tensor) -> Tensor:
        training = self.training or not self.heed_mode
        return functional.dropout(self.linear(x), 0.2, training)  # Here.


class DropPath(nn.Module):
    """Drop path as it was copied from project to project."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep_prob = 1 - self.drop_prob
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        coins = keep_prob + torch.rand(shape, dtype=x.dtype, device=x.device)
        return x.div(keep_prob) * coins.floor_()


class DropBlock2d(nn.Module):
    """DropBlock as timm and torchvision have it: centres by the closed form of the paper."""

    def __init__(self, drop_prob: float, block_size: int, valid: bool) -> None:
        super().__init__()
        self.drop_prob, self.block_size, self.valid = drop_prob, block_size, valid

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        (h, w), side = x.shape[2:], self.block_size
        rate = self.drop_prob * h * w / side**2 / ((h - side + 1) * (w - side + 1))
        cut = side - 1 if self.valid else 0
        centres = x.new_empty(*x.shape[:2], h - cut, w - cut).bernoulli_(rate)
        centres = functional.pad(centres, [cut // 2] * 4)
        kept: Tensor = 1 - functional.max_pool2d(centres, side, stride=1, padding=side // 2)
        scale = kept.numel() / float(kept.sum())
        return x * kept * scale


class Unused(nn.Module):
    """One layer is never called, another one twice."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.twice, self.never = nn.Dropout(0.2), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.twice(self.linear(x))
        return x


class Stubborn(nn.Dropout):
    """Drops in every mode, as layers for Monte-Carlo dropout do."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.p, True)


def right_cnn() -> nn.Module:
    """Dropout where it belongs: behind BatchNorm and ReLU, before the next convolution."""
    return nn.Sequential(
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Dropout2d(0.2),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(WIDTH, 3),
    )  # fmt: skip


def right_transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, 0.1, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

"""Wide residual networks for 32x32 images (Zagoruyko and Komodakis 2016)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Drop = Callable[[float], nn.Module]


class WideResNet(nn.Module):
    """WRN-`depth`-`widen`, with `drop` between the two 3x3 convolutions of every block.

    Raises:
        ValueError: when depth is not 4 more than a multiple of 6.
    """

    def __init__(
        self,
        depth: int = 16,
        widen: int = 4,
        p: float = 0.3,
        drop: Drop = nn.Dropout,
        classes: int = 10,
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth must be 10, 16, 22, ..., got {depth}")
        blocks: list[nn.Module] = []
        channels = 16
        for group in range(3):
            outputs = widen * 16 << group
            for number in range((depth - 4) // 6):
                stride = 2 if group > 0 and number == 0 else 1
                blocks.append(_Block(channels, outputs, stride, drop(p)))
                channels = outputs
        self.first = _conv3(3, 16)
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classify = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.classify(self.last(self.blocks(self.first(images))))
        return scores


class _Block(nn.Module):
    """Normalised and rectified first; the way round starts there where it is a convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop: nn.Module) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.convs = nn.Sequential(
            _conv3(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            drop,
            _conv3(outputs, outputs),
        )
        self.shortcut: nn.Module | None = None
        if inputs != outputs or stride > 1:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        ready = self.before(x)
        y: Tensor = (x if self.shortcut is None else self.shortcut(ready)) + self.convs(ready)
        return y


def _conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)

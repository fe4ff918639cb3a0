"""ResNet-34 (He et al. 2016) whose last blocks drop whole maps between their convolutions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

DEPTHS = (3, 4, 6, 3)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, p: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.drop = nn.Dropout2d(p) if p else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(relu(self.norm1(self.conv1(x))))
        return relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet34(p: float, width: int = 64, classes: int = 1000) -> nn.Sequential:
    """Return a ResNet-34 whose last third of blocks drops maps with probability p."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)]
    layers += [nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs, number = width, 0
    for stage, depth in enumerate(DEPTHS):
        for block in range(depth):
            number += 1
            rate = p if number > sum(DEPTHS) * 2 / 3 else 0.0
            stride = 2 if stage and not block else 1
            layers.append(Block(inputs, width << stage, stride, rate))
            inputs = width << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))

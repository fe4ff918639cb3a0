"""The encoder of ENet (Paszke, Chaurasia, Kim and Culurciello 2016), as its first stage trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

ROUND: tuple[int | str, ...] = (1, 2, "asymmetric", 4, 1, 8, "asymmetric", 16)
"""The paper's bottlenecks 2.1 to 2.8, and again 3.1 to 3.8: dilations, or asymmetric."""


class Encoder(nn.Module):
    """Images to scores of every class at an eighth of the resolution.

    Args:
        early: number of regular bottlenecks at a quarter of the resolution.
        later: those at an eighth, each by its dilation or as "asymmetric".
        width: maps at a quarter of the resolution; at an eighth there are twice as many.
    """

    def __init__(
        self,
        early: int = 4,
        later: Sequence[int | str] = ROUND * 2,
        width: int = 64,
        classes: int = 20,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 13, 3, 2, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.after = nn.Sequential(nn.BatchNorm2d(16), nn.PReLU(16))
        self.bottlenecks = nn.Sequential(
            Bottleneck(16, width, 1, 0.01, down=True),
            *(Bottleneck(width, width, 1, 0.01) for _ in range(early)),
            Bottleneck(width, 2 * width, 1, 0.1, down=True),
            *(Bottleneck(2 * width, 2 * width, kind, 0.1) for kind in later),
        )
        self.classify = nn.Conv2d(2 * width, classes, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        x = self.after(torch.cat([self.first(images), self.pool(images)], 1))
        scores: Tensor = self.classify(self.bottlenecks(x))
        return scores


class Bottleneck(nn.Module):
    """A narrow branch of three convolutions, with a drop layer at its end, added to the main one.

    Args:
        kind: the dilation of the 3x3 convolution, or "asymmetric" for a 5x1 and a 1x5 one.
        p: rate at which whole maps of the branch drop.
        down: halve the resolution: the main branch is pooled and gets maps of zeros.
    """

    def __init__(
        self, inputs: int, outputs: int, kind: int | str, p: float, *, down: bool = False
    ) -> None:
        super().__init__()
        narrow = outputs // 4
        step = 2 if down else 1
        self.main = nn.MaxPool2d(2) if down else nn.Identity()
        self.more = outputs - inputs
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, narrow, step, step, bias=False),
            nn.BatchNorm2d(narrow),
            nn.PReLU(narrow),
            *_middle(narrow, kind),
            nn.BatchNorm2d(narrow),
            nn.PReLU(narrow),
            nn.Conv2d(narrow, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.Dropout2d(p),
        )
        self.activate = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        main = self.main(x)
        if self.more:
            main = pad(main, (0, 0, 0, 0, 0, self.more))
        y: Tensor = self.activate(main + self.branch(x))
        return y


def _middle(maps: int, kind: int | str) -> list[nn.Module]:
    if isinstance(kind, int):
        return [nn.Conv2d(maps, maps, 3, padding=kind, dilation=kind)]
    return [
        nn.Conv2d(maps, maps, (5, 1), padding=(2, 0), bias=False),
        nn.Conv2d(maps, maps, (1, 5), padding=(0, 2)),
    ]

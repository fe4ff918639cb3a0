"""Make plain chains of convolutions: the least network with a drop layer in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

WIDTHS = (64, 128, 128, 128, 128)
"""Maps between the convolutions of the chain that bench times."""


def chain(
    widths: Sequence[int], p: float, drop: Callable[[float], nn.Module] = nn.Dropout2d
) -> nn.Sequential:
    """3x3 convolutions; a ReLU and a drop layer between two, or a drop layer before a lone one."""
    first, *rest = pairwise(widths)
    layers = [_conv(*first)] if rest else [drop(p), _conv(*first)]
    for pair in rest:
        layers += [nn.ReLU(), drop(p), _conv(*pair)]
    return nn.Sequential(*layers)


def _conv(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)

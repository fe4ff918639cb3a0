"""The temporal convolutional network (Bai, Kolter and Koltun 2018)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import weight_norm as weight_norm_by_hook

Normalise = Callable[[nn.Conv1d], nn.Module]


def by_hook(conv: nn.Conv1d) -> nn.Module:
    """The older weight normalisation: a hook before `forward` makes the weight."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        weight_norm_by_hook(conv)
    return conv


def by_parametrization(conv: nn.Conv1d) -> nn.Module:
    """The newer weight normalisation: the weight is a property."""
    parametrizations.weight_norm(conv)
    return conv


class TCN(nn.Module):
    """Sequences (N, inputs, length) to (N, length, outputs): the next element, at every element.

    Args:
        widths: channels of each level; the dilation doubles from one to the next.
        kernel: taps of every convolution.
        p: rate at which whole channels drop after every convolution.
        normalise: what every convolution's weight is made by.
    """

    def __init__(
        self,
        inputs: int = 88,
        widths: tuple[int, ...] = (150,) * 4,
        outputs: int = 88,
        kernel: int = 6,
        p: float = 0.2,
        normalise: Normalise = by_parametrization,
    ) -> None:
        super().__init__()
        self.levels = nn.Sequential(
            *(
                _Level(before, after, kernel, 2**number, p, normalise)
                for number, (before, after) in enumerate(pairwise((inputs, *widths)))
            )
        )
        self.decode = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.decode(self.levels(x).transpose(1, 2))
        return scores


class _Chomp(nn.Module):
    """Cuts off what stands after the last element: the convolution before it sees no future."""

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements = elements

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.elements].contiguous()


class _Level(nn.Module):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        dilation: int,
        p: float,
        normalise: Normalise,
    ) -> None:
        super().__init__()
        padding = (kernel - 1) * dilation
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            conv = nn.Conv1d(channels, outputs, kernel, padding=padding, dilation=dilation)
            layers += [normalise(conv), _Chomp(padding), nn.ReLU(), nn.Dropout1d(p)]
        self.convs = nn.Sequential(*layers)
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.activate = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activate(self.convs(x) + self.shortcut(x))
        return y

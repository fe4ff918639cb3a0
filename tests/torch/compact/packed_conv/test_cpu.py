"""What our own convolution kernels take on, and what they leave to PyTorch's."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mapdrop import kernels
from mapdrop.torch.compact.packed_conv.cpu import fits
from mapdrop.torch.compact.packed_conv.runs import Convolution, Dense

SETTINGS = Convolution((1, 1), (1, 1), (1, 1), (0, 0))
X, WEIGHT = torch.empty(2, 4, 8, 8), torch.empty(6, 4, 3, 3)


def test_convolutions_of_stride_1_fit() -> None:
    assert fits(SETTINGS, X, WEIGHT)
    assert fits(SETTINGS, X.double(), WEIGHT.double())


LEFT = {
    "strides": (dataclasses.replace(SETTINGS, stride=(1, 2)), X, WEIGHT),
    "transposed": (dataclasses.replace(SETTINGS, transposed=True), X, WEIGHT),
    "Linear": (Dense(), X, WEIGHT),
    "16 bits": (SETTINGS, X.bfloat16(), WEIGHT.bfloat16()),
    "two types": (SETTINGS, X.double(), WEIGHT),
    "another device": (SETTINGS, X.to("meta"), WEIGHT.to("meta")),
    "a weight of 4 GiB": (SETTINGS, X, torch.empty(1, 1, 1, 1).expand(2**14, 2**13, 3, 3)),
    "a map of 2 GiB": (SETTINGS, torch.empty(1, 1, 1, 1).expand(1, 4, 2**14, 2**15), WEIGHT),
}


@pytest.mark.parametrize(("settings", "x", "weight"), LEFT.values(), ids=LEFT)
def test_others_do_not(settings: Convolution, x: torch.Tensor, weight: torch.Tensor) -> None:
    assert not fits(settings, x, weight)


def test_without_numba_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "for_convolution", lambda: None)
    assert not fits(SETTINGS, X, WEIGHT)

"""Which convolutions mapdrop's own kernels support, and which they leave to PyTorch."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mapdrop import kernels
from mapdrop.torch.compact.packed_conv.cpu import supports
from mapdrop.torch.graph.settings import Convolution, Linear

SETTINGS = Convolution((1, 1), (1, 1), (1, 1), (0, 0))
X, WEIGHT = torch.empty(2, 4, 8, 8), torch.empty(6, 4, 3, 3)


def test_convolutions_of_stride_1_are_supported() -> None:
    assert supports(SETTINGS, X, WEIGHT)
    assert supports(SETTINGS, X.double(), WEIGHT.double())


UNSUPPORTED = {
    "strides": (dataclasses.replace(SETTINGS, stride=(1, 2)), X, WEIGHT),
    "transposed": (dataclasses.replace(SETTINGS, transposed=True), X, WEIGHT),
    "Linear": (Linear(), X, WEIGHT),
    "16 bits": (SETTINGS, X.bfloat16(), WEIGHT.bfloat16()),
    "two types": (SETTINGS, X.double(), WEIGHT),
    "another device": (SETTINGS, X.to("meta"), WEIGHT.to("meta")),
    "a weight of 4 GiB": (SETTINGS, X, torch.empty(1, 1, 1, 1).expand(2**14, 2**13, 3, 3)),
    "rows of 2 GiB": (SETTINGS, torch.empty(1, 1, 1, 1).expand(1, 4, 1, 2**29), WEIGHT),
}


@pytest.mark.parametrize(("settings", "x", "weight"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_others_are_not(
    settings: Convolution | Linear, x: torch.Tensor, weight: torch.Tensor
) -> None:
    assert not supports(settings, x, weight)


def test_without_numba_nothing_is_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "for_convolution", lambda: None)
    assert not supports(SETTINGS, X, WEIGHT)

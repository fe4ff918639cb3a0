"""At every shape that is timed, PyTorch's layers drop what NumPy's mask says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

import mapdrop
from mapdrop.tools.adapters.torch import Adapter
from mapdrop.tools.bench.case import FORWARD, LAST, PLAIN, Case
from mapdrop.tools.bench.cases import cases
from mapdrop.tools.bench.shapes import SHAPES, Shape, find

CASES = [(shape, operation) for shape in SHAPES for operation in shape.operations]


@pytest.mark.parametrize(
    ("shape", "operation"), CASES, ids=[f"{shape.name}-{operation}" for shape, operation in CASES]
)
def test_layers_drop_what_the_mask_says(shape: Shape, operation: str) -> None:
    case = Case(operation, replace(shape, batch=min(shape.batch, 2)), FORWARD, PLAIN)
    size, kind = case.size, case.kind
    ours: Any = Adapter().ours(kind, size)
    layer = mapdrop.torch.seeded(torch.nn.Sequential(ours), 5)
    x = torch.ones(size)
    if len(size) == 4:  # The layout makes no difference.
        x = x.contiguous(memory_format=torch.channels_last)
    y = layer(x)
    mask = mapdrop.mask(kind.first, size, kind.p, seed=5, stream="0", step=1, **kind.options)
    np.testing.assert_array_equal(y.detach().numpy(), mask.apply(np.ones(size, np.float32)))
    dropped, count = int((~mask.coins).sum()), mask.coins.size
    if operation != "block":  # Whose coins are not independent.
        tail = min(binom.cdf(dropped, count, kind.p), binom.sf(dropped - 1, count, kind.p))
        assert tail > 1e-6
    else:
        assert dropped / count == pytest.approx(kind.p, rel=0.05)


def test_names_are_unique_and_found() -> None:
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)
    assert find("tcn").last == (16, 80, 600)
    assert find("tcn").first == (16, 600, 80)
    with pytest.raises(KeyError, match="no shape 'resnet'; there are resnet50-1, "):
        find("resnet")


def test_every_shape_and_operation_is_timed_and_no_case_twice() -> None:
    made = list(cases("torch", Adapter))
    assert len({case.name for case in made}) == len(made)
    assert {(case.shape, case.operation) for case in made} > set(CASES)
    assert {case.layout for case in made} == {PLAIN, LAST}

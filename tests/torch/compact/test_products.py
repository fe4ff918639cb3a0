"""The multiplications of an operation: PyTorch counts them, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mapdrop.torch.compact.products import products
from mapdrop.torch.graph.reading import read

pytestmark = pytest.mark.compiler
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], Callable[[Tensor, Tensor], Tensor]]] = {
    "linear": ((4, 5, 6), (7, 6), F.linear),
    "linear, by keywords": ((4, 6), (7, 6), lambda x, w: F.linear(input=x, weight=w)),
    "matmul": ((4, 5, 6), (4, 6, 3), torch.matmul),
    "bmm": ((4, 5, 6), (4, 6, 3), lambda x, y: torch.bmm(x, mat2=y)),
    "strided": ((2, 6, 9, 8), (5, 6, 3, 2), lambda x, w: F.conv2d(x, w, stride=2)),
    "grouped": ((2, 6, 9, 8), (4, 3, 3, 3), lambda x, w: F.conv2d(x, w, groups=2)),
    "depthwise": ((2, 6, 9), (6, 1, 3), lambda x, w: F.conv1d(x, w, groups=6)),
    "transposed": ((2, 6, 9, 8), (6, 5, 3, 3), lambda x, w: F.conv_transpose2d(x, w, stride=2)),
    "transposed, grouped": (
        (2, 6, 9), (6, 2, 3), lambda x, w: F.conv_transpose1d(x, w, stride=3, groups=2)
    ),
    "attention": (
        (2, 3, 5, 8), (2, 3, 7, 8), lambda q, k: F.scaled_dot_product_attention(q, k, k)
    ),
}  # fmt: skip


class Called(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_pytorch_counts_as_many(case: Any) -> None:
    first, second, function = case
    inputs = torch.zeros(first), torch.zeros(second)
    # It does not count fused attention on the CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function(*inputs)
    assert counter.get_total_flops()
    graph = read(Called.forward, (Called(function), *inputs), {}).graph
    assert 2 * sum(map(products, graph.nodes)) == counter.get_total_flops()

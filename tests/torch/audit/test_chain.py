"""The places in a chain of operations where a drop would still mean the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch.audit.chain import Chains
from mapdrop.torch.graph.reading import read

pytestmark = pytest.mark.compiler
C = 8


class Applied(nn.Module):
    """Calls a function with layers of one width, and a head behind pooling."""

    def __init__(self, function: Callable[..., Tensor], has_head: bool) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(C, C, 3, padding=1) for _ in range(3))
        self.norm, self.drop, self.drop2 = nn.BatchNorm2d(C), nn.Dropout2d(0.5), nn.Dropout2d(0.2)
        self.head = nn.Linear(C, 3) if has_head else None
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(self, x)
        return y if self.head is None else self.head(y.mean((2, 3)))


def spots(function: Callable[..., Tensor], has_head: bool = True) -> list[tuple[int, str]]:
    net = Applied(function, has_head)
    graph = read(Applied.forward, (net, torch.zeros(4, C, C, C)), {}).graph
    chains = Chains(graph)
    (drop,) = (node for node in chains.drops if node.name == "drop")
    return sorted((spot.steps, spot.node.operation) for spot in chains.spots(drop))


def test_a_chain_reaches_over_two_products_each_way() -> None:
    def forward(net: Any, x: Any) -> Any:
        x = net.conv2(net.conv1(x).relu()).relu()
        return net.conv1(net.conv3(net.drop(x).tanh()).relu()).relu()

    assert spots(forward) == [
        (-3, "conv2d"), (-2, "relu"), (-1, "conv2d"),
        (1, "tanh"), (2, "conv2d"), (3, "relu"), (4, "conv2d"), (5, "relu"),
    ]  # fmt: skip


def test_the_input_is_not_dropped() -> None:
    def forward(net: Any, x: Any) -> Any:
        return net.drop(net.conv1(x.tanh()).relu())

    assert spots(forward) == [(-1, "conv2d")]


def test_the_output_is_not_dropped() -> None:
    def forward(net: Any, x: Any) -> Any:
        return net.conv2(net.drop(net.conv1(x)).relu()).tanh()

    assert spots(forward, has_head=False) == [(1, "relu")]
    assert spots(forward) == [(1, "relu"), (2, "conv2d"), (3, "tanh")]


def test_none_is_directly_before_batch_norm() -> None:
    def forward(net: Any, x: Any) -> Any:
        return net.conv2(net.norm(net.drop(net.conv1(x).relu()).tanh()).relu())

    assert spots(forward) == [(2, "batch_norm"), (3, "relu"), (4, "conv2d")]


def test_none_is_between_the_products_of_another_drop() -> None:
    def forward(net: Any, x: Any) -> Any:
        x = net.conv2(net.drop2(net.conv1(x)).relu())
        return net.conv3(net.drop(x).relu())

    assert spots(forward) == [(1, "relu"), (2, "conv2d")]


@pytest.mark.parametrize(
    ("operation", "turn"),
    [
        ("permute", lambda x: x.permute(0, 2, 1, 3)),
        ("transpose", lambda x: x.transpose(1, 3)),
    ],
)
def test_none_has_its_maps_in_another_axis(
    operation: str, turn: Callable[[Tensor], Tensor]
) -> None:
    def forward(net: Any, x: Any) -> Any:
        x = net.conv2(turn(net.conv1(x)))
        return net.conv3(turn(net.drop(x)))

    straight = spots(lambda net, x: net.conv3(net.drop(net.conv2(net.conv1(x)))))
    assert straight == [(-1, "conv2d"), (1, "conv2d")]
    assert spots(forward) == [(-1, operation)]  # What conv2 reads there are its maps.


def test_none_is_beyond_where_others_read_the_array() -> None:
    def forward(net: Any, x: Any) -> Any:
        x = net.conv1(x).relu()
        return net.conv3(x + net.drop(net.conv2(x)).relu())

    assert spots(forward) == [(1, "relu")]

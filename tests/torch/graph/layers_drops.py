"""The drop of maps that a layer becomes in a graph, with a seed for each draw."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.torch.graph.drops import Drawn, MapDrop
from mapdrop.torch.graph.graph import Node, substituted
from mapdrop.torch.graph.lattice import Kept
from mapdrop.torch.graph.registry import record_of
from tests.torch.compact.agreement import graph_of


class LayersDrop:
    """What a layer drops, drawn as a step of a program draws it."""

    def __init__(self, layer: Any, drop: MapDrop) -> None:
        self.layer, self.drop, self.gain = layer, drop, drop.gain

    def draw(self) -> Drawn:
        """Return a mask, from the random numbers that the layer would have drawn."""
        return self.drop.draw(*self._given())

    def draw_on_device(self) -> Drawn:
        """Return a mask that stays on the device."""
        return self.drop.draw_on_device(*self._given())

    def kept(self, number: int) -> Kept:
        return self.drop.kept(number)

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return self.drop.apply(x, drawn)

    def _given(self) -> list[Any]:
        """Return a seed, if there is one. Its only input is the handle of a seeded layer."""
        known: dict[Node, Any] = {}

        def value(node: Node) -> Any:
            if node not in known:
                args = substituted((node.args, node.kwargs or {}), value)
                called = node.target and node.target(*args[0], **args[1])
                known[node] = self.layer.source.handle if node.target is None else called
            return known[node]

        return [value(node) for node in self.drop.given]


def drop_of(layer: nn.Module, shape: tuple[int, ...]) -> LayersDrop | None:
    """Return what a layer drops from an array of that shape; None if it drops no whole maps."""
    graph = graph_of(nn.Sequential(layer, nn.ReLU()), torch.ones(shape, dtype=torch.float64))
    source = getattr(layer, "source", None)
    if source is not None:
        source.restart(0)  # To read the layer counted as a call.
    for node in graph.nodes:
        record = record_of(node)
        found = record.rule(node, record, lambda node: (1, 1)) if record is not None else None
        if isinstance(found, MapDrop):
            return LayersDrop(layer, found)
    return None

"""The operation that compact is about: a drop of whole maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from mapdrop.torch.compact.capture.hooks import hooked
from mapdrop.torch.compact.drops import FeatureDropout, MapDrop, map_drop
from mapdrop.torch.compact.lattice import Kept, MapSet, intersection
from mapdrop.torch.compact.node import Env, NodeInfo
from mapdrop.torch.compact.ops.op import Op
from mapdrop.torch.compact.storage import StepState, Storage

_FUNCTIONS = {
    torch.nn.functional.dropout1d,
    torch.nn.functional.dropout2d,
    torch.nn.functional.dropout3d,
}
_LAYERS = (torch.nn.Dropout1d, torch.nn.Dropout2d, torch.nn.Dropout3d)


class DropOp(Op):
    """A drop of whole maps. What it drops is zero after it and not live before it."""

    homogeneous = True

    def __init__(self, source: fx.Node, drop: MapDrop, number: int) -> None:
        self.sources = (source,)
        self.drop, self.number = drop, number
        self.kept: Kept = drop.kept(number)
        self.samples = int(source.meta["val"].shape[0])

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        return intersection(inputs[0], self.kept)

    def live(self, output: MapSet) -> list[MapSet]:
        return [intersection(output, self.kept)]

    def input_storages(self, storage: Storage) -> list[Storage]:
        """Return the same storage without this drop's factor, which is applied later."""
        return [Storage(storage.maps, storage.gain / self.drop.gain)]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        """Return the input: it has no dropped maps."""
        return values[0]


def find_drop(info: NodeInfo) -> MapDrop | None:
    """Return the drop of whole maps that a node is; None if it is none."""
    if not info.arrays or (info.module is not None and hooked(info.module)):
        return None
    shape, dtype = info.shape(info.arrays[0]), info.node.meta["val"].dtype
    if type(info.module) in _LAYERS:
        p, active = info.module.p, info.module.training
    elif info.node.op == "call_function" and info.node.target in _FUNCTIONS:
        p, active = info.argument("p", 1, 0.5), info.argument("training", 2, True)
    else:
        return map_drop(info.module, shape, dtype) if getattr(info.module, "training", 0) else None
    # Dropout1d and 3d take an array with one axis less for one sample without a batch axis.
    called: Any = info.node.target if info.module is None else type(info.module)
    ranks = {"1d": (3,), "2d": (3, 4), "3d": (5,)}[called.__name__[-2:]]
    fits = active and p > 0 and len(shape) in ranks
    return FeatureDropout(p, shape, dtype) if fits else None

"""The interface of an operation: what it does to sets of maps, and how it works on packed arrays.

An `Op` belongs to one node of a graph. Its transfer functions may return more maps than is true,
which makes the model slower but never wrong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor
from torch.fx import Node

from mapdrop.torch.compact.lattice import MapSet
from mapdrop.torch.compact.node import Env
from mapdrop.torch.compact.storage import StepState, Storage


class Op(ABC):
    """One operation of a graph.

    Attributes:
        sources: the nodes whose maps it reads.
        homogeneous: whether f(a * x) = a * f(x) for a > 0 and x all of the sources, so that a
            factor can be applied later.
        static: whether it can work on any maps, if they are as many in every sample.
        reason: why it needs dense arrays, in one sentence, and what would change that; or "".
    """

    sources: tuple[Node, ...] = ()
    homogeneous = False
    static = True
    reason = ""

    @abstractmethod
    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        """Return the maps of the output that may be non-zero, given those of the inputs."""

    @abstractmethod
    def live(self, output: MapSet) -> list[MapSet]:
        """Return the maps of each input that are read, given those of the output that are."""

    def input_storages(self, storage: Storage) -> list[Storage]:
        """Return how the inputs must be stored for an output in `storage`.

        That lacks a factor only if the operation is homogeneous.
        """
        return [storage for _ in self.sources]

    @abstractmethod
    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        """Return the output in `storage`, from inputs in `input_storages(storage)`."""

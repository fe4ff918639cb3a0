"""The interface of an operation on packed arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from torch import Tensor

from mapdrop.torch.compact.packing.storage import StepState, Storage
from mapdrop.torch.graph.facts import Facts
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.program import Env

Known = TypeVar("Known", bound=Facts)


class Packed(ABC, Generic[Known]):
    """One operation of a graph, on packed arrays.

    Attributes:
        static: whether it can work on any maps, if they are as many in every sample.
        copies: whether it writes a new array, and does not return the one that it reads.
        reason: why it needs dense arrays, in one sentence, and what would change that; or "".
    """

    static: ClassVar[bool] = True
    copies: ClassVar[bool] = True
    reason: ClassVar[str] = ""
    node: Node

    def __init__(self, node: Node, facts: Known) -> None:
        self.node, self.facts = node, facts

    def input_storages(self, storage: Storage) -> list[Storage]:
        """Return how the inputs must be stored for an output in `storage`.

        That lacks a factor only if the operation is homogeneous.
        """
        return [storage for _ in self.facts.sources]

    @abstractmethod
    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        """Return the output in `storage`, from inputs in `input_storages(storage)`."""

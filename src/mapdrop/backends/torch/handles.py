"""Handles: tensors by which compiled graphs refer to objects of Python.

A number in a graph is a constant of it. A tensor is an input, so that a graph which reads an object
by its handle sees what the object holds when the graph runs.
"""

from __future__ import annotations

import secrets
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor

CPU = torch.device("cpu")

Thing = TypeVar("Thing")


class Handles(Generic[Thing]):
    """Objects of one kind, found by their handles for as long as they live."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: WeakValueDictionary[int, Thing] = WeakValueDictionary()

    def new(self, thing: Thing) -> Tensor:
        """Return a new handle of an object."""
        name = secrets.randbits(62)
        self._things[name] = thing
        return torch.tensor(name, device=CPU)

    def find(self, handle: Tensor) -> Thing:
        """Return the object of a handle. Raises RuntimeError if it is no more."""
        thing = self._things.get(int(handle))
        if thing is None:
            raise RuntimeError(
                f"the {self.kind} layer that this graph was made of is no more: a graph that "
                f"outlives its model, or is loaded elsewhere, is made of a layer that is not "
                f"{self.kind}"
            )
        return thing

"""compact as a backend of torch.compile: `torch.compile(model, backend="mapdrop")`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from mapdrop.torch.compact.schedule import scheduler
from mapdrop.torch.graph.capture import Subgraph


def mapdrop(module: fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
    """Return a captured graph that leaves out what its drops drop."""
    return Subgraph(module, scheduler(None))

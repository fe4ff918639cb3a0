"""Capture a model as a graph: run its forward once on fake tensors and record each operation.

PyTorch's own layers become one node each; what is between them is recorded by the functions that
are called. The recording belongs to one thread, and it runs a copy of the model that shares nothing
with the real one, so that a capture has no effect but the time it takes.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mapdrop.backends.torch._internals import pytree
from mapdrop.torch.compact.capture.guards import Guards
from mapdrop.torch.compact.capture.reads import Reads, UnreadableError
from mapdrop.torch.compact.capture.recorder import CaptureError, Recorder
from mapdrop.torch.compact.capture.snapshot import Snapshot


@dataclass(frozen=True)
class Captured:
    """A captured graph.

    Attributes:
        graph: `node.meta["val"]` is a fake tensor of each result, `node.meta["weight"]` of a
            layer's weight.
        owner: the module in which the nodes' targets are found.
        output: the structure of the model's output.
        guards: what must not change for the graph to stay valid.
    """

    graph: fx.Graph
    owner: nn.Module
    output: pytree.TreeSpec
    guards: Guards


def tensors_of(args: Any, kwargs: Any) -> list[Tensor]:
    """Return the tensors among a call's arguments, in the order of the graph's placeholders."""
    return [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)]


def capture(model: nn.Module, kind: type[nn.Module], args: Any, kwargs: Any) -> Captured:
    """Return the graph of `kind.forward` for these arguments.

    Tensors may vary; everything else is a constant of the graph. Raises CaptureError.
    """
    with _generators_untouched(), _as_capture_errors():
        recorder = Recorder()
        snapshot = Snapshot(model, recorder.fake, recorder.leaf)
        recorder.paths = snapshot.paths
        reads = Reads(snapshot.guards, snapshot.unknown)
        recorder.paused = reads.paused

        def forward(*args: Any, **kwargs: Any) -> Any:
            with reads:
                return kind.forward(snapshot.copy, *args, **kwargs)

        graph, output = recorder.record(forward, args, kwargs)
        if snapshot.changed():
            raise CaptureError("its forward changes what its modules hold")
        snapshot.guard(reads)
    return Captured(graph, model, output, snapshot.guards)


def recapture(graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> Captured:
    """Return the graph of a module that PyTorch's compiler made. Raises CaptureError."""
    with _generators_untouched(), _as_capture_errors():
        recorder = Recorder()
        snapshot = Snapshot(graph, recorder.fake, recorder.leaf)
        recorder.paths = snapshot.paths
        recorded, output = recorder.record(_LayerNotes(snapshot.copy, recorder).run, inputs, {})
    return Captured(recorded, graph, output, snapshot.guards)


class _LayerNotes(fx.Interpreter):
    """Runs a graph, and notes for the recorder which layers each node comes from."""

    def __init__(self, module: fx.GraphModule, recorder: Recorder) -> None:
        super().__init__(module)
        self.recorder = recorder

    def run_node(self, n: fx.Node) -> Any:
        self.recorder.layers = n.meta.get("nn_module_stack")
        return super().run_node(n)


@contextmanager
def _as_capture_errors() -> Iterator[None]:
    """Raise CaptureError for whatever goes wrong."""
    try:
        yield
    except CaptureError:
        raise
    except UnreadableError as problem:
        raise CaptureError(str(problem)) from problem
    except Exception as problem:  # The model's own code ran, and may raise anything.
        raise CaptureError(f"its forward cannot be followed: {problem}") from problem


@contextmanager
def _generators_untouched() -> Iterator[None]:
    """Raise CaptureError if random numbers were drawn outside the graph, and restore generators."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        drawn = (
            not torch.equal(torch.get_rng_state(), before[0])
            or random.getstate() != before[1]
            or pickle.dumps(np.random.get_state()) != pickle.dumps(before[2])
        )
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])
    if drawn:
        raise CaptureError("its forward draws random numbers outside of tensors")

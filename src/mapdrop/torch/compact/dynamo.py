"""The other way to a graph: a backend of torch.compile, for models that torch.fx cannot follow.

PyTorch's own tracer gives the parts of a model between its graph breaks, one by one; each is
planned as a graph of its own. What lies across a break is stored whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn

from mapdrop.torch.compact.capture.capture import CaptureError, recapture
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.lowering import Schedule, plan


class Compiled:
    """A model's forward by `torch.compile`, for one kind of call."""

    def __init__(self, kind: type[nn.Module], costs: Costs | None) -> None:
        self.pieces: list[Piece] = []
        self.kind = kind
        self.called = False
        # A code object of its own: PyTorch compiles one only so many times, for all models.
        code = FunctionType(
            kind.forward.__code__.replace(),
            kind.forward.__globals__,
            argdefs=kind.forward.__defaults__,
            closure=kind.forward.__closure__,
        )
        code.__kwdefaults__ = kind.forward.__kwdefaults__
        self.forward = torch.compile(code, backend=backend_with(costs, self.pieces), dynamic=False)

    @property
    def skips(self) -> bool:
        """Whether any part leaves something out; before the first call, that may be so."""
        return not self.called or any(s.skips for s in self.schedules)

    @property
    def schedules(self) -> list[Schedule]:
        """Of the parts that could be planned."""
        found = [s for piece in self.pieces for s in piece.schedules.values()]
        return [s for s in found if isinstance(s, Schedule)]

    def run(self, model: nn.Module, args: Any, kwargs: Any) -> Any:
        """The model's output."""
        _ignore_grad_warning()
        if self.called:
            return self.forward(model, *args, **kwargs)
        self.called = True
        state = torch.get_rng_state()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # PyTorch's tracer meets what its own code warns of.
                return self.forward(model, *args, **kwargs)
        except torch._dynamo.exc.BackendCompilerFailed:
            self.pieces.clear()
            torch.set_rng_state(state)
            return self.kind.forward(model, *args, **kwargs)


def _ignore_grad_warning() -> None:
    """PyTorch's compiler looks at the gradients of what it is given, and warns itself of that.

    It may compile a part at any call; to catch warnings in each would show the model's own again.
    """
    text = r"The \.grad attribute of a Tensor that is not a leaf"
    if not any(m is not None and m.pattern == text for _, m, *_ in warnings.filters):
        warnings.filterwarnings("ignore", text, UserWarning, r"torch\.")


class Piece:
    """A part of a model: planned when it is first called, for each kind of call."""

    def __init__(self, module: fx.GraphModule, costs: Costs | None) -> None:
        # Outside its own compiler PyTorch would draw other random numbers when it recomputes one.
        if any(isinstance(n.target, torch._ops.HigherOrderOperator) for n in module.graph.nodes):
            raise CaptureError("mapdrop's backend cannot take a checkpoint inside a model")
        self.module, self.costs = module, costs
        self.schedules: dict[Any, Schedule | str] = {}

    def __call__(self, *inputs: Any) -> Any:
        """The part's outputs."""
        key = (
            tuple((i.shape, i.dtype, i.device) if isinstance(i, Tensor) else i for i in inputs),
            torch.is_autocast_enabled("cpu"),
        )
        if key not in self.schedules:
            self.schedules[key] = self._schedule(inputs)
        schedule = self.schedules[key]
        if isinstance(schedule, str) or not schedule.skips:
            return self.module(*inputs)
        return schedule.run(list(inputs))

    def _schedule(self, inputs: tuple[Any, ...]) -> Schedule | str:
        if not all(type(i) in (Tensor, torch.nn.Parameter) for i in inputs):
            return "it takes more than tensors"
        if any(_sets_a_mode(node) for node in self.module.graph.nodes):
            return "a part of it runs without gradients or in another type"
        try:
            captured = recapture(self.module, inputs)
        except CaptureError as problem:
            return str(problem)
        return plan(captured, self.costs, inputs[0].device)


def _sets_a_mode(node: fx.Node) -> bool:
    """Whether a node switches gradients or autocast; a graph cut short would leave it so."""
    name = getattr(node.target, "__name__", "")
    return name.startswith(("_set_grad", "_enter_", "set_grad_enabled"))


def backend_with(
    costs: Costs | None, pieces: list[Piece] | None = None
) -> Callable[[fx.GraphModule, list[Any]], Piece]:
    """A backend for `torch.compile`; it appends what it is given to `pieces`."""

    def backend(module: fx.GraphModule, example_inputs: list[Any]) -> Piece:
        piece = Piece(module, costs)
        if pieces is not None:
            pieces.append(piece)
        return piece

    return backend


def mapdrop(module: fx.GraphModule, example_inputs: list[Any]) -> Piece:
    """`torch.compile(model, backend="mapdrop")`."""
    return Piece(module, None)

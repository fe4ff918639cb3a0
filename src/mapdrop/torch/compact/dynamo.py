"""A backend of torch.compile, for models that mapdrop's own capture cannot follow.

PyTorch's compiler passes it the parts of a model between graph breaks one by one, and each is
lowered by itself. Arrays that cross a break are dense.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn

from mapdrop.backends.torch._internals import COMPACT_LACKS, HIGHER_ORDER, backend_failure
from mapdrop.torch.compact.capture.capture import recapture
from mapdrop.torch.compact.capture.recorder import CaptureError
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.lowering import lower
from mapdrop.torch.compact.schedule import Schedule


class CompiledForward:
    """A model's forward, compiled with this backend for one kind of call."""

    def __init__(self, kind: type[nn.Module], costs: Costs | None) -> None:
        self.subgraphs: list[Subgraph] = []
        self.kind = kind
        self.called = False
        # A copy of the code: PyTorch limits how often one code object is compiled, over all models.
        code = FunctionType(
            kind.forward.__code__.replace(),
            kind.forward.__globals__,
            argdefs=kind.forward.__defaults__,
            closure=kind.forward.__closure__,
        )
        code.__kwdefaults__ = kind.forward.__kwdefaults__
        self.forward = torch.compile(
            code, backend=make_backend(costs, self.subgraphs), dynamic=False
        )

    @property
    def skips(self) -> bool:
        """Whether any part skips something. Before the first call none is known, so it may."""
        return not self.called or any(s.skips for s in self.schedules)

    @property
    def schedules(self) -> list[Schedule]:
        """The schedules of the parts that could be lowered."""
        found = [s for subgraph in self.subgraphs for s in subgraph.schedules.values()]
        return [s for s in found if isinstance(s, Schedule)]

    def run(self, model: nn.Module, args: Any, kwargs: Any) -> Any:
        """Return the model's output."""
        _ignore_grad_warning()
        if self.called:
            return self.forward(model, *args, **kwargs)
        self.called = True
        state = torch.get_rng_state()
        try:
            with warnings.catch_warnings():
                # PyTorch's compiler runs into warnings of its own code.
                warnings.simplefilter("ignore")
                return self.forward(model, *args, **kwargs)
        except backend_failure():
            self.subgraphs.clear()
            torch.set_rng_state(state)
            return self.kind.forward(model, *args, **kwargs)


def _ignore_grad_warning() -> None:
    """Ignore that PyTorch's compiler warns itself of reading the gradients of its inputs.

    It may compile a part at any call. To catch warnings in each call would repeat the model's own.
    """
    text = r"The \.grad attribute of a Tensor that is not a leaf"
    if not any(m is not None and m.pattern == text for _, m, *_ in warnings.filters):
        warnings.filterwarnings("ignore", text, UserWarning, r"torch\.")


class Subgraph:
    """A part of a model, lowered at the first call of each kind."""

    def __init__(self, module: fx.GraphModule, costs: Costs | None) -> None:
        # Without its own compiler PyTorch would draw other random numbers when it recomputes one.
        if any(isinstance(n.target, HIGHER_ORDER) for n in module.graph.nodes):
            own = "mapdrop's backend cannot take a checkpoint inside a model"
            raise CaptureError(COMPACT_LACKS or own)
        self.module, self.costs = module, costs
        self.schedules: dict[Any, Schedule | str] = {}

    def __call__(self, *inputs: Any) -> Any:
        """Return the part's outputs."""
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
        if COMPACT_LACKS:
            return COMPACT_LACKS
        if not all(type(i) in (Tensor, torch.nn.Parameter) for i in inputs):
            return "it takes more than tensors"
        if any(_sets_a_mode(node) for node in self.module.graph.nodes):
            return "a part of it runs without gradients or in another type"
        try:
            captured = recapture(self.module, inputs)
        except CaptureError as problem:
            return str(problem)
        return lower(captured, self.costs, inputs[0].device)


def _sets_a_mode(node: fx.Node) -> bool:
    """Return whether a node switches gradients or autocast, which may stay so after a break."""
    name = getattr(node.target, "__name__", "")
    return name.startswith(("_set_grad", "_enter_", "set_grad_enabled"))


def make_backend(
    costs: Costs | None, subgraphs: list[Subgraph] | None = None
) -> Callable[[fx.GraphModule, list[Any]], Subgraph]:
    """Return a backend for `torch.compile`, which appends what it compiles to `subgraphs`."""

    def backend(module: fx.GraphModule, example_inputs: list[Any]) -> Subgraph:
        subgraph = Subgraph(module, costs)
        if subgraphs is not None:
            subgraphs.append(subgraph)
        return subgraph

    return backend


def mapdrop(module: fx.GraphModule, example_inputs: list[Any]) -> Subgraph:
    """Compile a graph, for `torch.compile(model, backend="mapdrop")`."""
    return Subgraph(module, None)

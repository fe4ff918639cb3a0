"""Capture a model by PyTorch's compiler, whose guards say for how long a graph is valid.

Where the compiler breaks a model into several graphs, each is captured by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.autograd.graph import saved_tensors_hooks

from mapdrop.backends.torch._internals import compiler_failure
from mapdrop.torch.graph.build import build, is_state
from mapdrop.torch.graph.compiler import captures, compiler
from mapdrop.torch.graph.graph import Graph, GraphError
from mapdrop.torch.graph.guards import Guards

_KINDS = 64  # Shapes of a graph for which what is made of it is kept: the most recent ones.
_CAPTURES = 64  # Graphs of a model, after which all are dropped.
_MISSES = 16  # Calls in a row that captured something, after which a model runs as it is.


class Runs(Protocol):
    """What a client makes of a graph."""

    def run(self, inputs: list[Any]) -> tuple[Any, ...]:
        """Return the outputs of the graph."""


Made = TypeVar("Made", bound=Runs)
Make = Callable[[Graph, Sequence[Any]], Made | str]


class Subgraph(Generic[Made]):
    """One captured graph.

    Args:
        module: what PyTorch's compiler captured.
        make: returns what to run for a graph and its first inputs.
        note: gets what is run, or the reason why the graph is called as it is.
        recomputed: whether it is called again with gradients, even if it is first called without.

    Attributes:
        last: what the last call ran, or the reason; None before the first one. A checkpointed part
            is also called in the backward pass.
    """

    module: fx.GraphModule
    make: Make[Made]
    note: Callable[[Made | str], object]

    def __init__(
        self,
        module: fx.GraphModule,
        make: Make[Made],
        note: Callable[[Made | str], object] = lambda made: None,
        recomputed: bool = False,
    ) -> None:
        self.module, self.make, self.note = module, make, note
        self.recomputed = recomputed
        self.made: dict[Any, Made | str] = {}
        self.last: Made | str | None = None
        # The compiler guards all else, so that only the sizes of these may vary.
        names = [str(n.target) for n in module.graph.nodes if n.op == "placeholder"]
        self.varying: list[int] = [i for i, name in enumerate(names) if not is_state(name)]

    def __call__(self, *inputs: Any) -> Any:
        """Return the graph's outputs."""
        key = tuple(_size(inputs[i]) for i in self.varying)
        if key not in self.made:
            self.made[key] = self._made(inputs)
            if len(self.made) > _KINDS:
                del self.made[next(iter(self.made))]
        made = self.last = self.made[key]
        self.note(made)
        return self.module(*inputs) if isinstance(made, str) else made.run(list(inputs))

    def _made(self, inputs: tuple[Any, ...]) -> Made | str:
        if any(type(i) not in (Tensor, nn.Parameter, int) for i in inputs):
            return "it takes more than tensors"
        try:
            gradients = self.recomputed or torch.is_grad_enabled()
            with _nothing_saved(), torch.set_grad_enabled(gradients):
                return self.make(build(self.module, inputs), inputs)
        except GraphError as problem:
            return str(problem)
        except Exception as problem:
            text = f"mapdrop's own error, so that nothing is skipped: {problem!r}; please report it"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            return text


def _nothing_saved() -> saved_tensors_hooks:
    """Keep what is saved from checkpointing around the model, which would count it."""
    return saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)


def _size(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else value


class Captured(Generic[Made]):
    """A function of a model, captured anew whenever its guards fail.

    Args:
        function: called as `function(model, args, kwargs)`.
        make: see `Subgraph`.

    Attributes:
        made: what the last call ran: what was made of each graph, or why nothing was.
    """

    def __init__(self, function: Callable[..., Any], make: Make[Made]) -> None:
        self.made: list[Made | str] = []
        self._function, self._make = function, make
        self._failed = ""
        self._captures = 0  # Of the present code.
        self._misses = 0  # Calls in a row that captured something.
        self._guards = Guards(nn.Module())
        self._compiled: Callable[..., Any] | None = None  # To import the compiler takes seconds.

    def _backend(self, module: fx.GraphModule, example_inputs: list[Any]) -> Subgraph[Made]:
        self._captures += 1
        return Subgraph(module, self._make, lambda made: self.made.append(made))

    def __call__(self, model: nn.Module, args: Any, kwargs: Any) -> Any:
        """Return the function's result."""
        self.made = [self._failed] if self._failed else []
        if self._failed:
            return self._function(model, args, kwargs)
        if not self._compiled or self._captures >= _CAPTURES or not self._guards.hold():
            self._compiled = compiler(self._function, backend=self._backend)
            self._captures = 0
        before, state = self._captures, torch.get_rng_state()
        try:
            with captures(first=not before):
                result = self._compiled(model, args, kwargs)
        except compiler_failure() as problem:
            torch.set_rng_state(state)
            result = self._function(model, args, kwargs)  # If it is wrong itself, it says so here.
            self._fail(str(problem.__cause__ or problem))
            return result
        captured = self._captures > before
        self._misses = self._misses + 1 if captured else 0
        if captured:
            self._guards = Guards(model)
        if self._misses > _MISSES:
            self._fail("what its forward reads changes with nearly every call")
        return result

    def _fail(self, reason: str) -> None:
        self._failed = reason
        self.made = [reason]

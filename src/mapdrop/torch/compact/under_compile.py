"""compact() inside a graph of torch.compile: planned while PyTorch's compiler traces the model.

The compiler's front end calls `plan`, and does not look into `trace`; its back end records what
that does to fake tensors. Masks have no values then, so that only drops with an exact count can
skip anything. Only what is compiled imports this file.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.backends.torch._internals import constant, nonstrict_trace, pytree, without_modes
from mapdrop.torch.compact.followed import Globals, Place, places_read, use
from mapdrop.torch.compact.schedule import Schedule, static_schedule
from mapdrop.torch.compact.views import VIEWS
from mapdrop.torch.graph.analysis import analyse
from mapdrop.torch.graph.compiler import capturing
from mapdrop.torch.graph.graph import GraphError
from mapdrop.torch.graph.reading import read
from mapdrop.torch.graph.sample_drops import sample_drops
from mapdrop.torch.layers import Drop

INLINE, BREAK = 0, -1


@dataclass(frozen=True, eq=False)
class Plan:
    """What to run for a model in a compiled graph.

    Attributes:
        schedule: the steps.
        inputs: of each input of the graph: the name of a parameter or buffer, the number of an
            argument's tensor, or a handle of a seeded or scheduled layer.
        result: returns the model's result, given the outputs of the graph.
        places: of the values that the compiler has to guard.
        uncounted: whether there are drops that only uncompiled code could skip.
    """

    schedule: Schedule
    inputs: tuple[str | int | Tensor, ...]
    result: Callable[[Sequence[Any]], Any]
    places: tuple[Place, ...]
    uncounted: bool


def forward_under_compile(view: Any, args: Any, kwargs: Any) -> Any:
    """Run the training forward while PyTorch's compiler traces it; NotImplemented if it cannot."""
    if is_captured():
        return view.mapdrop_kind.forward(view, *args, **kwargs)
    number = plan(id(view), _described((args, kwargs))) + 0  # As a number of no known origin.
    if number == BREAK:
        return NotImplemented
    if number == INLINE:
        return view.mapdrop_kind.forward(view, *args, **kwargs)
    for place in places(id(view), number):
        use(place.value(view))
    parameters, buffers = dict(view.named_parameters()), dict(view.named_buffers())
    nonstrict: Any = nonstrict_trace()
    return nonstrict(trace)(id(view), number, parameters, buffers, args, kwargs)


@constant
def is_captured() -> bool:
    """Return whether it is mapdrop that captures the model, for a view that holds this one."""
    return capturing()


def _described(value: Any) -> Any:
    """Return arguments as constants, with each tensor's kind in its place.

    A size or number that varies becomes one that the compiler guards.
    """
    if isinstance(value, Tensor):
        size = [operator.index(n) for n in value.shape]
        return ("tensor", size, value.dtype, value.device, value.requires_grad)
    if isinstance(value, tuple):
        return ("tuple", [_described(part) for part in value])
    if isinstance(value, list):
        return [_described(part) for part in value]
    if isinstance(value, dict):
        return {key: _described(part) for key, part in value.items()}
    return ("float", value.hex()) if isinstance(value, float) else value


@constant
def plan(number: int, described: Any) -> int:
    """Return the number of a plan for such a call of a view: INLINE, BREAK, or that of a `Plan`."""
    view: Any = VIEWS[number]
    engine = view._mapdrop_engine
    drops = [m for m in view.modules() if isinstance(m, Drop)]
    counted = [m for m in drops if m.scheduled is None]  # Otherwise the number changes.
    exact = any(m.exact is not None for m in counted)
    if nonstrict_trace() is None or not (exact or any(m.balance is not None for m in counted)):
        return BREAK
    try:
        with without_modes():
            made = _plan(view, described)
    except GraphError as problem:
        engine.last = [f"a compiled graph cannot follow what it reads: {problem}"]
        return BREAK
    engine.last = [made.schedule]
    if not made.schedule.skips:
        return INLINE if exact or made.schedule.branches or not made.uncounted else BREAK
    engine.plans.append(made)
    return len(engine.plans)


def _plan(view: Any, described: Any) -> Plan:
    tensors = {id(t): t for t in (*view.parameters(), *view.buffers())}
    layers = [m for m in view.modules() if isinstance(m, Drop)]
    holders = [thing for m in layers for thing in (m.source, m.scheduled) if thing is not None]
    # A copy of all but tensors, so that what its forward changes is seen, and undone.
    kept = {id(thing): thing for thing in holders}
    twin = copy.deepcopy(view, {**tensors, **kept, id(view._mapdrop_engine): None})
    args, kwargs = _like(described)
    before = Globals()
    try:
        reading = read(view.mapdrop_kind.forward, (twin, *args), kwargs)
    finally:
        changed = before.restored()
    if changed:
        raise GraphError("its forward changes a global")
    if not _equal(vars(view), vars(twin)):
        raise GraphError("its forward changes what its modules hold")
    read_from = places_read(reading.guards, twin)
    names = {id(t): name for name, t in (*view.named_parameters(), *view.named_buffers())}
    given = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
    inputs_at: dict[int, Any] = {id(t): i for i, t in enumerate(given)} | names
    inputs_at |= {id(thing.handle): thing.handle for thing in holders}
    if any(id(t) not in inputs_at for t in reading.inputs):
        raise GraphError("a tensor that is neither a parameter nor a buffer")
    made = static_schedule(reading.graph, view._mapdrop_engine.costs)
    inputs = tuple(inputs_at[id(t)] for t in reading.inputs)
    uncounted = bool(sample_drops(reading.graph) or analyse(reading.graph).drops)
    return Plan(made, inputs, reading.result, read_from, uncounted)


@constant
def places(view: int, number: int) -> tuple[Place, ...]:
    """Return the places of a plan."""
    model: Any = VIEWS[view]
    planned: Plan = model._mapdrop_engine.plans[number - 1]
    return planned.places


def _like(described: Any) -> Any:
    """Return arguments of such kinds."""
    if isinstance(described, tuple):
        kind, first, *rest = described
        if kind == "float":
            return float.fromhex(first)
        if kind == "tuple":
            return tuple(_like(part) for part in first)
        dtype, device, requires_grad = rest
        return torch.empty(first, dtype=dtype, device=device).requires_grad_(requires_grad)
    if isinstance(described, list):
        return [_like(part) for part in described]
    if isinstance(described, dict):
        return {key: _like(part) for key, part in described.items()}
    return described


def _equal(one: Any, other: Any, seen: frozenset[int] = frozenset()) -> bool:
    """Return whether two copies of what a module holds are still alike."""
    if one is other or id(one) in seen:
        return True
    if type(one) is not type(other):
        return False
    seen |= {id(one)}
    if isinstance(one, dict):
        same = all(_equal(one[key], other.get(key), seen) for key in one)
        return one.keys() == other.keys() and same
    if isinstance(one, (set, frozenset, int, float, str)):
        return bool(one == other)
    if isinstance(one, Collection) and not isinstance(one, (Tensor, nn.Module)):
        alike = all(_equal(a, b, seen) for a, b in zip(one, other, strict=False))
        return len(one) == len(other) and alike
    return _equal(vars(one), vars(other), seen) if hasattr(one, "__dict__") else True


def trace(
    view: int,
    number: int,
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    args: Any,
    kwargs: Any,
) -> Any:
    """Run a plan, with the model's tensors as arguments that the compiler knows."""
    model: Any = VIEWS[view]
    planned: Plan = model._mapdrop_engine.plans[number - 1]
    given = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
    named = {**parameters, **buffers}

    def value(place: str | int | Tensor) -> Tensor:
        if isinstance(place, Tensor):
            return place
        return named[place] if isinstance(place, str) else given[place]

    outputs = planned.schedule.run([value(place) for place in planned.inputs])
    planned.schedule.last = None  # Its masks are the compiler's, and have no values.
    return planned.result(outputs)

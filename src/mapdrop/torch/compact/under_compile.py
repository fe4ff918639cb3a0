"""compact() inside a graph of torch.compile: planned while PyTorch's compiler traces the model.

The compiler's front end calls `plan`, and does not look into `trace`; its back end records what
that does to fake tensors. Masks have no values then, so that only drops with an exact count can
skip anything. Only what is compiled imports this file, because to mark functions for the compiler
imports it.
"""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mapdrop.backends.torch._internals import OPERATORS, nonstrict_trace, pytree, without_modes
from mapdrop.backends.torch.source import Source
from mapdrop.torch.compact.lower import Schedule, static_schedule
from mapdrop.torch.compact.views import VIEWS
from mapdrop.torch.graph.compiler import capturing
from mapdrop.torch.graph.graph import GraphError
from mapdrop.torch.graph.reading import read
from mapdrop.torch.layers import Drop

Function = TypeVar("Function", bound=Callable[..., Any])
INLINE, BREAK = 0, -1
_STRUCTURE = ("TYPE_MATCH", "ID_MATCH", "MODULE_MATCH", "CLOSURE_MATCH", "DUPLICATE_INPUT")
_MODULE = r"model((?:\._modules\['[^']+'\])*)"
_CODE: tuple[type, ...] = (
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    ModuleType,
    type,
    property,
    *OPERATORS,
    torch.dtype,
    torch.layout,
    torch.device,
    torch.memory_format,
)


def _constant(function: Function) -> Function:
    """Let the compiler call the function once and take its result as a constant."""
    marked: Function = torch.compiler.assume_constant_result(function)
    return marked


@dataclass(frozen=True, eq=False)
class Plan:
    """What to run for a model in a compiled graph.

    Attributes:
        schedule: the steps.
        inputs: of each input of the graph: the name of a parameter or buffer, the number of an
            argument's tensor, or a tensor of a seeded layer.
        result: returns the model's result, given the outputs of the graph.
    """

    schedule: Schedule
    inputs: tuple[str | int | Tensor, ...]
    result: Callable[[Sequence[Any]], Any]


def forward_under_compile(view: Any, args: Any, kwargs: Any) -> Any:
    """Run the training forward while PyTorch's compiler traces it; NotImplemented if it cannot."""
    if is_captured():
        return view.mapdrop_kind.forward(view, *args, **kwargs)
    number = plan(id(view), _described((args, kwargs))) + 0  # As a number of no known origin.
    if number == BREAK:
        return NotImplemented
    if number == INLINE:
        return view.mapdrop_kind.forward(view, *args, **kwargs)
    for at, module in enumerate(view.modules()):
        for name in _guarded_attributes(id(view))[at]:
            _guard(getattr(module, name))
    parameters, buffers = dict(view.named_parameters()), dict(view.named_buffers())
    nonstrict: Any = nonstrict_trace()
    return nonstrict(trace)(id(view), number, parameters, buffers, args, kwargs)


@_constant
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


@_constant
def plan(number: int, described: Any) -> int:
    """Return the number of a plan for such a call of a view: INLINE, BREAK, or that of a `Plan`."""
    view: Any = VIEWS[number]
    engine = view._mapdrop_engine
    exact = any(isinstance(m, Drop) and m.exact is not None for m in view.modules())
    if nonstrict_trace() is None or not exact:
        return BREAK
    try:
        with without_modes():
            made = _plan(view, described)
    except GraphError as problem:
        engine.last = [f"a compiled graph cannot follow what it reads: {problem}"]
        return BREAK
    engine.last = [made.schedule]
    if not made.schedule.skips:
        return INLINE
    engine.plans.append(made)
    return len(engine.plans)


def _plan(view: Any, described: Any) -> Plan:
    tensors = {id(t): t for t in (*view.parameters(), *view.buffers())}
    sources = {id(m.source): m.source for m in view.modules() if getattr(m, "source", None)}
    # A copy of all but tensors, so that what its forward changes is seen, and undone.
    twin = copy.deepcopy(view, {**tensors, **sources, id(view._mapdrop_engine): None})
    args, kwargs = _like(described)
    reading = read(view.mapdrop_kind.forward, (twin, *args), kwargs)
    if not _equal(vars(view), vars(twin)):
        raise GraphError("its forward changes what its modules hold")
    other = next((guard.name for guard in reading.guards if not _is_followed(guard, twin)), None)
    if other is not None:
        raise GraphError(other)
    names = {id(t): name for name, t in (*view.named_parameters(), *view.named_buffers())}
    given = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
    places: dict[int, Any] = {id(t): i for i, t in enumerate(given)} | names
    places |= {id(source.handle): source.handle for source in sources.values()}
    if any(id(t) not in places for t in reading.inputs):
        raise GraphError("a tensor that is neither a parameter nor a buffer")
    made = static_schedule(reading.graph, view._mapdrop_engine.costs)
    return Plan(made, tuple(places[id(t)] for t in reading.inputs), reading.result)


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


def _equal(one: Any, other: Any) -> bool:
    """Return whether two copies of what a module holds are still alike."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, nn.Module):
        return _equal(vars(one), vars(other))
    return one is other or not isinstance(one, (int, float, str, Tensor)) or one == other


def _is_followed(guard: Any, model: nn.Module) -> bool:
    """Return whether the compiler notices when what is guarded changes, or that never does.

    It guards the arguments, what belongs to every module, and the attributes that `_guard` uses.
    """
    name = guard.name
    structure = guard.guard_type in _STRUCTURE or isinstance(guard.value, _CODE)
    if structure or not name or name.startswith(("args", "kwargs")):
        return True
    if name.startswith("dict("):
        of_class = re.match(rf"dict\(type\({_MODULE}\)(?:\.__mro__\[(\d+)\])?\.__dict__\)", name)
        if of_class is None:
            return False
        bases = type(_module(model, of_class[1])).__mro__
        return _is_library(bases[int(of_class[2] or 0)].__module__)
    if guard.is_global:
        return _is_library(name.partition("['__import_")[2].replace("_dot_", "."))
    attribute = re.match(rf"{_MODULE}\.([A-Za-z]\w*)", name)
    if attribute is None:
        return True
    value = getattr(_module(model, attribute[1]), attribute[2])
    return is_guarded(value) or isinstance(value, _CODE)


def _module(model: nn.Module, path: str) -> nn.Module:
    """Return a module by what the compiler calls it: "._modules['head']._modules['0']"."""
    return model.get_submodule(".".join(re.findall(r"\['([^']+)'\]", path)))


def _is_library(name: str) -> bool:
    return name.partition(".")[0] in ("torch", "mapdrop")


def _guard(value: Any) -> None:
    """Use a value where the compiler sees it, so that it compiles again when the value changes."""
    if isinstance(value, dict):
        for key in value:
            _guard(value[key])
    elif isinstance(value, (list, tuple)):
        for part in value:
            _guard(part)
    elif not isinstance(value, float):
        str(value)  # The compiler does not guard what is read but not used.
    elif value - value == 0:
        value.as_integer_ratio()  # Otherwise a number that changed once would become a variable.


@_constant
def _guarded_attributes(number: int) -> list[list[str]]:
    """Return the names of the attributes of each module that the compiler can guard."""
    return [
        [name for name, value in vars(module).items() if name[0] != "_" and is_guarded(value)]
        for module in VIEWS[number].modules()
    ]


def is_guarded(value: Any) -> bool:
    """Return whether the compiler notices that a module's attribute of this value changes."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(is_guarded, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_guarded, value))
    return isinstance(value, (bool, int, float, str, NoneType, Source))


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

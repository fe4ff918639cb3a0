"""A snapshot: a copy of a model, with fake tensors, that can run without touching the model.

What the model's code may read is guarded during the copy, so that a change is noticed later.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from mapdrop.backends.torch._internals import (
    COMPILED_CALL,
    MODULE_HOOK_KINDS,
    MODULE_HOOKS,
    MODULE_OTHERS,
    MODULE_STATE,
)
from mapdrop.torch.compact.capture.guards import CONTAINERS, Guards, is_value
from mapdrop.torch.compact.capture.hooks import hooked
from mapdrop.torch.compact.capture.reads import Reads, UnreadableError, trusted
from mapdrop.torch.layers import Drop

_STATE, _HOOKS, _INTERNAL = {*MODULE_STATE}, {*MODULE_HOOKS, *MODULE_HOOK_KINDS}, {*MODULE_OTHERS}
_PARAMETERS, _BUFFERS, _SUBMODULES = MODULE_STATE
_LIMIT = 20_000  # Values of one model.


def is_leaf(module: nn.Module) -> bool:
    """Return whether a module becomes one node: PyTorch's layers, drops, hooked modules."""
    own = module.__module__.startswith(("torch.nn", "torch.ao.nn"))
    return isinstance(module, Drop) or hooked(module) or (own and not _is_container(module))


def _is_container(module: nn.Module) -> bool:
    return isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))


class Snapshot:
    """A copy of a model.

    Args:
        model: to copy.
        fake: makes a fake tensor of a parameter or buffer.
        leaf: called as `leaf(path, its copy, *args, **kwargs)` instead of a leaf's forward.

    Attributes:
        copy: of the model.
        guards: of what was copied.
        paths: where each fake parameter and buffer is found in the model, by `id`.
        unknown: the names of attributes that hold something which no guard can follow.
    """

    def __init__(
        self,
        model: nn.Module,
        fake: Callable[[Tensor], Tensor],
        leaf: Callable[..., Any],
    ) -> None:
        self.guards = Guards()
        self.unknown: set[str] = set()
        self.paths: dict[int, str] = {}
        self._fake, self._leaf = fake, leaf
        self._copies: dict[int, Any] = {}
        self._alive: list[Any] = []  # Keeps every `id` in use.
        self._contents: list[tuple[Any, tuple[Any, ...]]] = []
        self._plain: list[Any] = []  # Objects that are neither modules nor containers.
        named = {id(m): name for name, m in model.named_modules()}
        self._owners = list(model.modules())
        for module in self._owners:
            self._copies[id(module)] = object.__new__(type(module))
        for module in self._owners:
            self._fill(module, named[id(module)], self._copies[id(module)], module is model)
        self.copy = self._copies[id(model)]

    def _fill(self, module: nn.Module, path: str, made: Any, root: bool) -> None:
        own: dict[str, Any] = {}
        made.__dict__ = own
        dotted = f"{path}." if path else ""
        leaf = not root and is_leaf(module)
        for name, value in module.__dict__.items():
            if name in (_PARAMETERS, _BUFFERS):
                own[name] = {n: self._tensor(dotted + n, t) for n, t in value.items()}
                self.guards.tensors(value)
            elif name == _SUBMODULES:
                own[name] = {
                    n: None if m is None else self._copies[id(m)] for n, m in value.items()
                }
                self.guards.container(value)
            elif name in _HOOKS:
                own[name] = type(value)()
            elif name in _INTERNAL:
                own[name] = None if name == COMPILED_CALL else value
            elif leaf:  # Its code is PyTorch's or mapdrop's.
                own[name] = value
                self.guards.entry(module.__dict__, name)
            else:
                own[name] = self._attribute(name, value)
        self.guards.hooks(module)
        if leaf:
            own["forward"] = functools.partial(self._leaf, path, made)

    def _tensor(self, path: str, tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        fake = self._fake(tensor)
        self.paths.setdefault(id(fake), path)
        self._alive.append(fake)
        return fake

    def _attribute(self, name: str, value: Any) -> Any:
        try:
            return self._value(value)
        except UnreadableError:
            self.unknown.add(name)
            return value

    def _value(self, value: Any) -> Any:
        """Return a copy that shares nothing that can change. Raises UnreadableError."""
        if is_value(value) or isinstance(value, Tensor):  # A tensor's values are never read.
            return value
        if id(value) in self._copies:
            return self._copies[id(value)]
        if len(self._alive) > _LIMIT:
            raise UnreadableError("it holds too many values")
        self._alive.append(value)
        if type(value) in CONTAINERS or type(value) is tuple:
            return self._container(value)
        if isinstance(value, MethodType):
            return MethodType(value.__func__, self._value(value.__self__))
        if type(value) is functools.partial:
            given = {k: self._value(v) for k, v in value.keywords.items()}
            return functools.partial(
                self._value(value.func), *map(self._value, value.args), **given
            )
        if isinstance(value, FunctionType | type):
            return value
        if _is_plain(value):
            return self._object(value)
        if (
            callable(value)
            and trusted(getattr(value, "__module__", None))
            and not isinstance(value, nn.Module)
        ):
            return value
        raise UnreadableError(f"it holds a {type(value).__name__}")

    def _container(self, value: Any) -> Any:
        made: Any
        if isinstance(value, dict):
            made = type(value)()
            self._copies[id(value)] = made
            made.update({self._value(k): self._value(v) for k, v in value.items()})
        else:
            made = type(value)(map(self._value, value))
            self._copies[id(value)] = made
        self.guards.container(value)
        if type(value) is not tuple:
            self._contents.append((made, _content(made)))
        return made

    def _object(self, value: Any) -> Any:
        made = object.__new__(type(value))
        self._copies[id(value)] = made
        for name, held in vars(value).items():
            made.__dict__[name] = self._attribute(name, held)
        self._plain.append(value)
        return made

    def changed(self) -> bool:
        """Return whether a run of the copy changed one of its lists, dicts or sets."""
        return any(_content(made) != content for made, content in self._contents)

    def guard(self, reads: Reads) -> None:
        """Guard what the code read of the model. Raises UnreadableError."""
        modules = [m for m in self._owners if not is_leaf(m)]
        reads.attributes({type(thing) for thing in (*modules, *self._plain)})
        for thing in (*modules, *self._plain):
            own = vars(thing)
            inherits = _inherits_code(type(thing))
            if inherits and self.unknown & own.keys():
                raise UnreadableError(
                    f"a {type(thing).__name__} holds something that is not a plain value"
                )
            read = own if reads.dynamic or inherits else reads.names & own.keys()
            missing = reads.shadows(type(thing).__mro__) - own.keys()
            for name in (*read, *missing, "training"):
                if name not in _STATE | _HOOKS | _INTERNAL:
                    self.guards.entry(own, name)
                    function = getattr(own.get(name), "__func__", own.get(name))
                    if isinstance(function, FunctionType):
                        reads.function(function)
        reads.finish()


def _inherits_code(kind: type) -> bool:
    """Return whether a class inherits code of a library, which is not watched."""
    bases = [base for base in kind.__mro__ if base not in (nn.Module, object)]
    return any(trusted(b.__module__) and not b.__module__.startswith("mapdrop") for b in bases)


def _content(container: Any) -> tuple[Any, ...]:
    items = (*container.keys(), *container.values()) if isinstance(container, dict) else container
    return tuple(map(id, items))


def _is_plain(value: Any) -> bool:
    """Return whether an object is its attributes and nothing else."""
    kinds = [k for k in type(value).__mro__ if k is not object]
    return (
        not isinstance(value, (nn.Module, type))
        and not any(trusted(k.__module__) for k in kinds)
        and isinstance(getattr(value, "__dict__", None), dict)
        and not any("__slots__" in vars(k) for k in kinds)
    )


def module_guards(model: nn.Module) -> Guards:
    """Return guards of a model that PyTorch's compiler captures, for what that does not guard.

    These are hooks, methods of classes, and changes inside of a tuple.
    """
    guards = Guards()
    for module in model.modules():
        guards.container(vars(module)[_SUBMODULES])
        guards.hooks(module)
        guards.entry(module.__dict__, "training")
        guards.entry(module.__dict__, "p")
        for kind in type(module).__mro__:
            if not trusted(kind.__module__):
                guards.container(vars(kind))
        for value in module.__dict__.values():
            if isinstance(value, tuple):
                _guard_inside(value, guards)
    return guards


def _guard_inside(value: Any, guards: Guards) -> None:
    if isinstance(value, (*CONTAINERS, tuple)) and not is_value(value):
        guards.container(value)
        for part in value.values() if isinstance(value, dict) else value:
            _guard_inside(part, guards)


def beyond(model: nn.Module, kind: type[nn.Module], followed: Callable[[Any], bool]) -> str:
    """Return what a model's code may read beyond its followed attributes; "" if nothing.

    The code is not run, so that this holds for any call.
    """
    guards = Guards()
    reads = Reads(guards, set(), ahead=True)
    modules = [m for m in model.modules() if m is model or not is_leaf(m)]
    kinds = {kind if m is model else type(m) for m in modules}
    try:
        count = -1
        while count != len(reads.names):  # What a method reads may be another method.
            count = len(reads.names)
            reads.attributes(kinds)
            for module in modules:
                for name in reads.names & vars(module).keys() - _STATE - _HOOKS - _INTERNAL:
                    value = vars(module)[name]
                    if not followed(value):
                        reads.constant(getattr(value, "__func__", value), name)
    except UnreadableError as problem:
        return str(problem)
    return guards.beyond(model.modules(), followed)

"""Find what a model's own code reads besides its arguments and modules, while the code runs.

Python calls a profile function for every function that is entered. The function's code names
everything that it can read: globals, attributes, closures. Constants become guards. Code that reads
anything else, or that has effects besides its result, cannot be captured.
"""

from __future__ import annotations

import builtins
import dis
import enum
import functools
import gc
import inspect
import logging
import sys
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

from mapdrop.backends.torch._internals import OPERATORS
from mapdrop.torch.compact.capture.guards import MISSING, Guards, held, is_value

# Libraries that read nothing but their arguments.
_TRUSTED = {
    "torch",
    "numpy",
    "math",
    "operator",
    "_operator",
    "functools",
    "_functools",
    "itertools",
    "contextlib",
    "collections",
    "_collections",
    "typing",
    "enum",
    "dataclasses",
    "abc",
    "einops",
    "builtins",
    "inspect",
    "types",
    "numbers",
    "weakref",
    "_weakrefset",
}
_APPLICATIONS = ("mapdrop.localize", "mapdrop.study")  # Their models are like any user's.
_EFFECTS = {print, input, open, exec, eval, compile, globals, locals, breakpoint, setattr, delattr}
_OPERATIONS = (np.ufunc, *OPERATORS)
DYNAMIC = {"getattr", "hasattr", "vars", "__dict__", "attrgetter", "__getattribute__"}
_WRITES = {"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_CONSTRUCTORS = {"__init__", "__post_init__", "__new__"}  # They write to new objects only.
_OF_CLASSES = {"__module__", "__doc__", "__dict__", "__weakref__", "__annotations__"}


class UnreadableError(Exception):
    """Code reads something that no guard can follow; the text says what."""


def trusted(name: Any) -> bool:
    """Return whether the code of a module of that name reads nothing but its arguments."""
    text = str(name or "")
    if text.partition(".")[0] == "mapdrop":
        return not text.startswith(_APPLICATIONS)
    return text.partition(".")[0] in _TRUSTED


class Reads:
    """Watches the code that one thread runs, as a context.

    Attributes:
        guards: of the globals and closures that the code reads.
        unknown: the names of the model's attributes that no guard can follow.
        ahead: whether to follow code without running it, into everything it may call.
        names: the names of the attributes that the code may have read.
        optional: those of them that may be missing.
    """

    def __init__(self, guards: Guards, unknown: set[str], ahead: bool = False) -> None:
        self.guards, self.unknown, self.ahead = guards, unknown, ahead
        self.names: set[str] = {"forward"}
        self.optional: set[str] = set()
        self._seen: dict[CodeType, bool] = {}  # Whether the code is a library's.
        self._nested: set[CodeType] = set()
        self._kinds: dict[type, None] = {}  # Classes whose attributes may be read, in order.
        self._problem: UnreadableError | None = None
        self._closed: set[CodeType] = set()
        self._functions: set[CodeType] = set()

    @property
    def dynamic(self) -> bool:
        """Whether the code may read attributes by computed names."""
        return bool(self.names & DYNAMIC)

    def __enter__(self) -> Reads:
        self._before = sys.getprofile()
        _Collector.pause()
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *problem: Any) -> None:
        sys.setprofile(self._before)
        _Collector.resume()

    def function(self, function: FunctionType) -> None:
        """Guard a function's code, defaults and closure."""
        if function.__code__ in self._functions or trusted(function.__module__):
            return
        self._functions.add(function.__code__)
        self.guards.function(function)
        for value in held(function):
            self.constant(value, f"what {function.__qualname__} holds")
        if self.ahead:
            self._code(function.__code__, function.__globals__)

    def _code(self, code: CodeType, space: dict[str, Any]) -> None:
        self._names(code)
        self._instructions(code, space)
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                self._code(inner, space)

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        try:
            if event == "call" and frame.f_code not in self._seen:
                self._enter(frame)
            elif event == "c_call" and not self._seen.get(frame.f_code, True):
                self._builtin(arg)
        except UnreadableError as problem:
            self._problem = problem  # Python stops watching, and the model may catch this.
            raise

    def _enter(self, frame: FrameType) -> None:
        code, name = frame.f_code, str(frame.f_globals.get("__name__"))
        standard = name.partition(".")[0] in sys.stdlib_module_names
        self._seen[code] = trusted(name) or standard
        if standard and not trusted(name) and self._is_models(frame.f_back):
            raise UnreadableError(f"its forward calls {code.co_name} of {name}")
        if self._seen[code]:
            return
        self._nested.update(c for c in code.co_consts if isinstance(c, CodeType))
        if code.co_freevars and code not in self._nested:
            self._closed.add(code)
            for free in code.co_freevars:
                self.constant(frame.f_locals.get(free), f"{free!r} of the function around it")
        self._names(code)
        self._instructions(code, frame.f_globals)

    def _is_models(self, frame: FrameType | None) -> bool:
        return frame is not None and not self._seen.get(frame.f_code, True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause: an error raised inside of PyTorch's own calls may end the process."""
        profile = sys.getprofile()
        sys.setprofile(None)
        try:
            yield
        finally:
            sys.setprofile(profile)

    def _names(self, code: CodeType) -> None:
        strings = {c for c in code.co_consts if isinstance(c, str)}
        self.names |= set(code.co_names) | strings
        if self.dynamic:
            self.optional |= strings
        found = self.unknown if self.dynamic else self.unknown & self.names
        if found:
            raise UnreadableError(
                f"{code.co_name} may read {min(found)!r}, which is not a plain value"
            )

    def _instructions(self, code: CodeType, space: dict[str, Any]) -> None:
        steps = list(dis.get_instructions(code))
        for i, step in enumerate(steps):
            if step.opname in _WRITES and code.co_name not in _CONSTRUCTORS:
                raise UnreadableError(f"{code.co_name} sets {step.argval!r}")
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                self._global(step.argval, space, _attributes(steps[i + 1 :]))
            elif step.opname == "IMPORT_NAME" and not trusted(step.argval):
                raise UnreadableError(f"{code.co_name} imports {step.argval}")

    def _global(self, name: str, space: dict[str, Any], path: Iterator[str]) -> None:
        self.guards.entry(space, name)
        self.guards.entry(vars(builtins), name)
        value, said = space.get(name, vars(builtins).get(name, MISSING)), name
        if value is MISSING:
            return  # Reading it raises.
        while isinstance(value, ModuleType) and not trusted(value.__name__):
            attribute = next(path, None)
            if attribute is None or attribute not in vars(value):
                raise UnreadableError(f"it reads the module {said}")
            self.guards.entry(vars(value), attribute)
            value, said = vars(value)[attribute], f"{said}.{attribute}"
        self.constant(value, said)

    def constant(self, value: Any, said: str) -> None:
        """Raise UnreadableError for an object that may change and stay the same object."""
        if is_value(value) or isinstance(value, logging.Logger):
            return
        if isinstance(value, FunctionType):
            self.function(value)
        elif isinstance(value, functools.partial) and type(value) is functools.partial:
            for part in (value.func, *value.args, *value.keywords.values()):
                self.constant(part, said)
        elif isinstance(value, (staticmethod, classmethod)):
            self.constant(value.__func__, said)
        elif isinstance(value, property):
            for part in (value.fget, value.fset, value.fdel):
                self.constant(part, said)
        elif isinstance(value, type):
            self._kinds.setdefault(value)
        elif not _library(value):
            raise UnreadableError(f"it reads {said}, a {type(value).__name__}")

    def attributes(self, kinds: Iterable[type]) -> None:
        """Guard the attributes of classes that were read by name. Raises UnreadableError."""
        self._kinds.update(dict.fromkeys(kinds))
        done: set[type] = set()
        while ahead := [kind for kind in self._kinds if kind not in done]:
            for kind in ahead:
                done.add(kind)
                self._class(kind)

    def _class(self, kind: type) -> None:
        bases = [base for base in kind.__mro__ if not trusted(base.__module__)]
        if issubclass(kind, enum.Enum):
            return
        for name in self.names & {name for base in bases for name in vars(base)} - _OF_CLASSES:
            for base in bases:  # An earlier base may get it, and then hide the one that has it.
                self.guards.entry(vars(base), name)
                if name in vars(base):
                    self.constant(vars(base)[name], f"{base.__name__}.{name}")

    def finish(self) -> None:
        """Raise UnreadableError if the code read something that no guard follows."""
        if self._problem is not None:
            raise self._problem
        for code in self._closed - self._functions:
            raise UnreadableError(f"{code.co_name} reads variables of the function around it")

    def shadows(self, kinds: Iterable[type]) -> set[str]:
        """Return names that an instance may get, and that then hide what its classes have."""
        found = {n for kind in kinds for n in vars(kind) if not trusted(kind.__module__)}
        return (found & self.names) | self.optional

    def _builtin(self, function: Any) -> None:
        home, bound = _home(function)
        if not trusted(home) or (not bound and function in _EFFECTS):
            raise UnreadableError(f"its forward calls {function.__qualname__} of {home}")


class _Collector:
    """Pauses the garbage collector while any thread is watched.

    Its callbacks run inside of whatever code is running, and are not the model's.
    """

    _lock, _watched, _enabled = Lock(), 0, False

    @classmethod
    def pause(cls) -> None:
        """Pause, for one more thread."""
        with cls._lock:
            if cls._watched == 0:
                cls._enabled = gc.isenabled()
                gc.disable()
            cls._watched += 1

    @classmethod
    def resume(cls) -> None:
        """Resume, when the last thread does."""
        with cls._lock:
            cls._watched -= 1
            if cls._watched == 0 and cls._enabled:
                gc.enable()


def _home(function: Any) -> tuple[str, bool]:
    """Return the module of a C function, or of the class of a method; and whether it is one."""
    owner = getattr(function, "__self__", None)
    if owner is None or isinstance(owner, ModuleType):
        return function.__module__ or type(function).__module__, False
    return (owner if isinstance(owner, type) else type(owner)).__module__, True


def _library(value: Any) -> bool:
    """Return whether a value is a library or a function of one."""
    if isinstance(value, ModuleType):
        return trusted(value.__name__)
    if isinstance(value, types.BuiltinFunctionType):
        return trusted(_home(value)[0])
    return trusted(getattr(value, "__module__", None) or type(value).__module__) and (
        inspect.isroutine(value) or isinstance(value, _OPERATIONS)
    )


def _attributes(steps: list[dis.Instruction]) -> Iterator[str]:
    """Return the chain of attributes that is read from what was just loaded."""
    for step in steps:
        if step.opname not in _ATTRIBUTES:
            return
        yield step.argval

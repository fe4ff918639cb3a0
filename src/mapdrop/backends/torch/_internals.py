"""What mapdrop uses of PyTorch that PyTorch does not document: looked up here and nowhere else.

All of it was seen in PyTorch 2.13. Where another version lacks a part, its stand-in leads to the
same mask by a slower path, or a feature that cannot do without it refuses, and says what is
missing. No stand-in leads to another mask. What every drop calls is PyTorch's own C function, bound
once.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

Function = TypeVar("Function", bound=Callable[..., Any])


def _find(module: str, name: str = "") -> Any:
    """Return a module, or what has the (dotted) name in it; None where there is no such thing."""
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return None
    for part in name.split(".") if name else ():
        found = getattr(found, part, None)
    return found


def _missing(feature: str, parts: Iterable[tuple[str, Any]]) -> str:
    """Return a sentence on the parts that are None; "" where all are there."""
    names = [name for name, part in parts if part is None]
    version = torch.__version__
    return f"PyTorch {version} lacks what {feature} needs: {', '.join(names)}" if names else ""


# --- Called by every drop. Where the answer is unknown, the general path is right.


def _yes() -> bool:
    return True


def _no() -> bool:
    return False


def _maybe(_: Tensor) -> bool:
    return True


def _unless_transformed() -> int:
    return 0 if transformed() else 1


is_tracing: Callable[[], bool] = (
    _find("torch._C", "_is_tracing") or _find("torch.jit", "is_tracing") or _no
)
"""Whether `torch.jit.trace` records operations. It goes when its public, slower twin goes."""

dispatch_modes: Callable[[], int] = (
    _find("torch._C", "_len_torch_dispatch_stack") or _unless_transformed
)
"""How many modes see each operation (fake tensors, make_fx).

Unknown: drop by the operator, which modes see; or by the function for transforms, which calls it.
"""

function_transforms: Callable[[], bool] = (
    _find("torch._C", "_are_functorch_transforms_active") or _yes
)
"""Whether torch.func transforms the code. Unknown: drop by the function that it can transform."""


_LEVEL = "_current_level"
forward_level: Callable[[], int] = (
    partial(attrgetter(_LEVEL), torch.autograd.forward_ad)
    if hasattr(torch.autograd.forward_ad, _LEVEL)
    else int
)
"""The level of forward-mode differentiation, -1 outside. Unknown: 0, as if it were at work."""


function_wrapped: Callable[[Tensor], bool] = (
    _find("torch._C", "_functorch.is_functorch_wrapped_tensor") or _maybe
)
"""Whether a tensor is a wrapper of torch.func's, which may have outlived its transform.

Unknown: drop by the general path, which takes wrappers off.
"""


has_storage: Callable[[Tensor], bool] = _find("torch._C", "_has_storage") or _maybe
"""Whether a tensor has memory of its own. A batch of gradients (`is_grads_batched`) has none.

Unknown: drop by its memory, which is an error where there is none.
"""


def transformed() -> bool:
    """Return whether torch.func or forward-mode differentiation is at work; unknown: True."""
    return function_transforms() or forward_level() >= 0


def direct_apply(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """Return its `apply` without the look for transforms that it begins with; unknown: with it."""
    apply: Callable[..., Any] = function.apply
    return getattr(super(torch.autograd.Function, function), "apply", apply)


def constant(function: Function) -> Function:
    """Let PyTorch's compiler call the function once, and take its result as a constant.

    This is `torch.compiler.assume_constant_result`, without importing the compiler.
    """
    setattr(function, "_dynamo_marked_constant", True)  # noqa: B010 - a function has no such field.
    return function


# --- Recomputation: which call of backward a thread works for, and what it was given.


def _no_task() -> int:
    return -1


def _nothing(key: str, value: Any) -> None:
    """Keep nothing: nobody has shards."""


def _alive(stash: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    """Return what stashes a value, and keeps it alive until another takes its place.

    PyTorch 2.8 takes no reference to the value, but gives one back later.
    """
    refer = ctypes.pythonapi["Py_IncRef"]  # Not the attribute, whose types all share.
    refer.argtypes, refer.restype = [ctypes.py_object], None
    tried = [object()]
    refer(tried[0])  # It is never freed, whatever PyTorch does.
    before = sys.getrefcount(tried[0])
    stash("mapdrop: tried", tried[0])
    if sys.getrefcount(tried[0]) > before:
        return stash

    def keep(key: str, value: Any) -> None:
        refer(value)
        stash(key, value)

    return keep


_TASK = ("torch._C._current_graph_task_id", _find("torch._C", "_current_graph_task_id"))
graph_task: Callable[[], int] = _TASK[1] or _no_task
"""The number of the backward that this thread works for, -1 outside. Unknown: see below."""

_THREADS = [
    (f"torch._C.{name}", _find("torch._C", name))
    for name in ("_stash_obj_in_tls", "_is_key_in_tls", "_get_obj_in_tls")
]
SHARDS_LACK = _missing("mapdrop.torch.shard", [_TASK, *_THREADS])
"""Why `shard` refuses: what is recomputed might take itself for another part of the array."""

stash: Callable[[str, Any], None] = _alive(_THREADS[0][1]) if _THREADS[0][1] else _nothing
"""Keep a value for this thread; PyTorch hands it on to the threads of a backward."""


def stashed(key: str, default: Any) -> Any:
    """Return the value that was kept for this thread, or for the one that called backward."""
    if SHARDS_LACK or not _THREADS[1][1](key):
        return default
    return _THREADS[2][1](key)


_METHODS = (
    "_save_to_state_dict",  # They keep the count of a layer's calls.
    "_load_from_state_dict",
    "_apply",  # These two refuse what would repeat one mask for several models.
    "_replicate_for_data_parallel",
)
SEEDS_LACK = _missing(
    "a seeded layer", [_TASK, *((f"nn.Module.{m}", getattr(nn.Module, m, None)) for m in _METHODS)]
)
"""Why `seeded` refuses: a layer might repeat a mask, or not repeat one where it should."""

WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
    "ActivationWrapper": "_checkpoint_wrapped_module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
}
"""PyTorch's modules that only call another, and the name that each has for it."""

if TYPE_CHECKING:
    from torch.nn.modules.dropout import _DropoutNd

    DropoutBase = _DropoutNd
else:
    DropoutBase = nn.Dropout.__base__
    """The base of PyTorch's dropout layers, whatever its name; `nn.Module` if they had none."""


# --- PyTorch's compiler.


def inductor_imported() -> bool:
    """Return whether somebody compiles with Inductor. Unknown: no, and a drop stays one call."""
    return "torch._inductor" in sys.modules


def decompose_in_inductor(operator: Any, decomposition: Callable[..., Any]) -> None:
    """Have Inductor compile an operator as the operations that `decomposition` does.

    Where its table of decompositions is not what it was, the operator stays one call in compiled
    code: the same result, which does not fuse with its neighbours.
    """
    try:
        from torch._inductor import decomposition as table

        table.register_decomposition([operator])(decomposition)
        table.fast_random_decomps.cache_clear()  # A copy, made when something was compiled before.
    except Exception as problem:
        warnings.warn(
            f"PyTorch {torch.__version__} does not let mapdrop say how Inductor may take a drop "
            f"apart, so compiled drops are slower, with the same masks: {problem!r}",
            RuntimeWarning,
            stacklevel=2,
        )


def dynamo_imported() -> bool:
    """Return whether somebody compiles. Unknown: no, and compact's own code may be compiled."""
    return "torch._dynamo" in sys.modules


def skipped_by_dynamo(function: Function) -> Function:
    """Mark a function for `torch.compile` to run as it is.

    `torch.compiler.disable` does the same, but imports the compiler, which takes seconds. Where the
    mark is unknown, the function's code is traced up to a call that is disabled.
    """
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    return function


def nonstrict_trace() -> Callable[[Function], Function] | None:
    """Return what has Dynamo leave a function to the back end; None: compact breaks the graph."""
    import torch._dynamo

    public = getattr(torch.compiler, "nonstrict_trace", None)
    return public or getattr(torch._dynamo, "nonstrict_trace", None)


_SETTINGS = {
    "optimize_ddp": False,  # It would cut a model into a graph for each bucket of gradients.
    "skip_nnmodule_hook_guards": False,
    "use_numpy_random_stream": True,
    "specialize_float": True,  # A rate that changed once would become a variable.
    "recompile_limit": 1000,  # `Captured` keeps count itself.
}


def dynamo_settings() -> AbstractContextManager[Any]:
    """Return a context in which the compiler captures for compact; unknown settings are left."""
    from torch._dynamo import config

    known: Any = {name: value for name, value in _SETTINGS.items() if hasattr(config, name)}
    return config.patch(known)  # type: ignore[no-any-return]


@contextmanager
def compiler_silent() -> Iterator[None]:
    """Keep the compiler's log to itself: what it cannot do is told by an exception."""
    loggers = [logging.getLogger(name) for name in ("torch._guards", "torch._dynamo", "torch.fx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def mark_dynamic(tensor: Tensor, axis: int) -> None:
    """Let the compiler capture any size of a tensor's axis; unknown: this size alone."""
    mark = _find("torch._dynamo", "mark_dynamic")
    if mark is not None:
        mark(tensor, axis)


_jit_isinstance = _find("torch._jit_internal", "_isinstance")


def _is_instance(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) if isinstance(kind, type) else _jit_isinstance(value, kind)


@cache
def follow_jit_isinstance() -> None:
    """Let the compiler go through `torch.jit.isinstance`, which networks of MONAI call.

    Where its table of rules is not what it was, it breaks a model into two graphs there.
    """
    rules: Any = _find("torch._dynamo.trace_rules", "get_torch_obj_rule_map")
    substitute = getattr(torch.compiler, "substitute_in_graph", None)
    if rules is not None and substitute is not None and _jit_isinstance is not None:
        rules().pop(torch.jit.isinstance, None)
        substitute(torch.jit.isinstance, skip_signature_check=True)(_is_instance)


def compiler_failure() -> type[Exception]:
    """Return what `torch.compile` raises where it cannot go on; unknown: any exception.

    A model's own error is then raised twice, the second time by the model as it is.
    """
    failure: type[Exception] | None = _find("torch._dynamo.exc", "TorchDynamoException")
    return failure or Exception


# --- Graphs of models, for compact. It runs the model dense where one of these is missing.

OPERATORS = (type(torch.ops.aten.add), type(torch.ops.aten.add.default))
"""The classes of `torch.ops`' operators and of their overloads."""

_GLOBAL_HOOKS = tuple(
    f"_global_{name}hooks" for name in ("forward_", "forward_pre_", "backward_", "backward_pre_")
)
_module: Any = _find("torch.nn.modules.module")

if TYPE_CHECKING:
    from torch._C import DisableTorchFunction as DisableTorchFunction
    from torch._subclasses.fake_tensor import FakeTensorMode as FakeTensorMode
    from torch.utils import _pytree
    from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

    DispatchMode = TorchDispatchMode
    pytree = _pytree
    without_modes = _disable_current_modes
else:
    pytree = _find("torch.utils._pytree")
    FakeTensorMode = _find("torch._subclasses.fake_tensor", "FakeTensorMode")
    DisableTorchFunction = _find("torch._C", "DisableTorchFunction")
    without_modes = _find("torch.utils._python_dispatch", "_disable_current_modes")
    DispatchMode = _find("torch.utils._python_dispatch", "TorchDispatchMode") or object


SUBMODULES = "_modules"
"""The attribute of a module that holds its submodules, as PyTorch's compiler names it in guards."""


def guarded_attribute(guard: Any) -> str:
    """Return the name of the attribute whose absence or presence PyTorch's compiler guards.

    Raises AttributeError or LookupError if that is unknown.
    """
    name: str = guard.orig_guard.create_fn.keywords["attr"]
    return name


_HIGHER_ORDER = _find("torch._ops", "HigherOrderOperator")
HIGHER_ORDER: type = _HIGHER_ORDER or object
"""The class of operators that call graphs. Unknown: any may be one, and its graph is refused."""


def _parts_of_compact() -> Iterable[tuple[str, Any]]:
    yield "torch.utils._pytree", pytree
    yield "FakeTensorMode", FakeTensorMode
    yield "HigherOrderOperator", _HIGHER_ORDER
    yield "DisableTorchFunction", DisableTorchFunction
    yield "_disable_current_modes", without_modes
    yield "Tensor._version", getattr(torch.empty(0), "_version", None)
    yield "UntypedStorage._cdata", getattr(torch.empty(0).untyped_storage(), "_cdata", None)
    for name in _GLOBAL_HOOKS:
        yield name, getattr(_module, name, None)


COMPACT_LACKS = _missing("mapdrop.torch.compact", _parts_of_compact())
"""Why compact runs every model dense; "" where it need not."""


AUDIT_LACKS = _missing(
    "mapdrop.torch.audit",
    [
        ("torch.utils._pytree", pytree),
        ("TorchDispatchMode", None if DispatchMode is object else DispatchMode),
        ("UntypedStorage._cdata", getattr(torch.empty(0).untyped_storage(), "_cdata", None)),
    ],
)
"""Why `audit` refuses: it could not see the operations of a model."""


def global_hooks() -> Iterable[Any]:
    """Yield the hooks for all modules, as profilers and feature taps register them."""
    return (getattr(_module, name) for name in _GLOBAL_HOOKS)


def version_of(tensor: Tensor) -> int:
    """Return a number that changes with each write to the tensor's memory."""
    return tensor._version


def storage_of(tensor: Tensor) -> int:
    """Return a number for the memory of a tensor, also of a fake one, which has no address."""
    number: int = tensor.untyped_storage()._cdata
    return number

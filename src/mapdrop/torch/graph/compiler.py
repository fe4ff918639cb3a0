"""How PyTorch's compiler is called to capture a model."""

from __future__ import annotations

import itertools
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch

from mapdrop.backends.torch._internals import dynamo_settings, follow_jit_isinstance

_SLOW = 1.0  # Seconds.
_numbers = itertools.count()


class _Capturing(threading.local):
    active = False


_thread = _Capturing()


def capturing() -> bool:
    """Return whether this thread captures a model, or runs what was captured."""
    return _thread.active


def compiler(function: Any, **options: Any) -> Callable[..., Any]:
    """Return a function as PyTorch's compiler runs it, with a cache of its own.

    The compiler keeps what it captured by the code, and which sizes varied by the code's name.
    """
    follow_jit_isinstance()
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_numbers)}")
    copied = FunctionType(code, function.__globals__, closure=function.__closure__)
    return torch.compile(copied, **options)


@contextmanager
def captures(first: bool) -> Iterator[None]:
    """Let the compiler capture in a context, for the first time or again.

    A first time that takes long is told on stderr.
    """
    before, _thread.active = _thread.active, True
    try:
        with dynamo_settings(), _own_warnings_ignored(first), _told_when_slow(first):
            yield
    finally:
        _thread.active = before


@contextmanager
def _own_warnings_ignored(first: bool) -> Iterator[None]:
    """Ignore what PyTorch's compiler warns of in its own code while it captures.

    To catch warnings in each call would repeat the model's own, so later calls ignore one only.
    """
    text = r"The \.grad attribute of a Tensor that is not a leaf"
    if not any(m is not None and m.pattern == text for _, m, *_ in warnings.filters):
        warnings.filterwarnings("ignore", text, UserWarning, r"torch\.")
    if not first:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch\.")
        yield


@contextmanager
def _told_when_slow(first: bool) -> Iterator[None]:
    """Say on stderr what a first call is busy with, if it takes long."""
    if not first:
        yield
        return
    text = "mapdrop reads the model, once for each kind of call ..."
    timer = threading.Timer(_SLOW, print, (text,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

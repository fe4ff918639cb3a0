"""Fast makers of the specification's bits. Nothing above this floor knows how they are made."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from functools import cache
from types import ModuleType


@cache
def for_cpu() -> ModuleType | None:
    """The compiled CPU kernels, or None where Numba is not installed (or does not import)."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        from mapdrop.kernels import cpu as kernels
    except ImportError as problem:
        warnings.warn(
            f"Numba is installed but does not import, so mapdrop is slower: {problem}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return kernels


@cache
def for_gpu() -> ModuleType | None:
    """The compiled GPU kernels, or None where Triton is not installed, or came too late."""
    if importlib.util.find_spec("triton") is None:
        return None
    if "tensorflow" in sys.modules and "triton" not in sys.modules:
        # Both bring an LLVM, and Triton's ends the process if it finds the other's options there
        # (Triton 3.9, TensorFlow 2.21); in the other order they get along.
        warnings.warn(
            "TensorFlow was imported before Triton, which would end this process, so mapdrop drops"
            " by plain operations on GPUs. To have its kernels, import triton first.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return importlib.import_module("mapdrop.kernels.gpu")


@cache
def for_convolution() -> ModuleType | None:
    """The compiled convolutions, or None where there are no compiled kernels."""
    return None if for_cpu() is None else importlib.import_module("mapdrop.kernels.convolution")


@cache
def for_small() -> ModuleType | None:
    """The compiled kernels for few values, or None where there are no compiled kernels."""
    return None if for_cpu() is None else importlib.import_module("mapdrop.kernels.small")


@cache
def for_weights() -> ModuleType | None:
    """The compiled choosing of weights, or None where there are no compiled kernels."""
    return None if for_cpu() is None else importlib.import_module("mapdrop.kernels.gather")

"""Compiled kernels for masks and convolutions. Callers do not know which compiler made them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from functools import cache
from types import ModuleType


@cache
def for_cpu() -> ModuleType | None:
    """Return the compiled CPU kernels; None if Numba is not installed or does not import."""
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
    """Return the compiled GPU kernels; None if Triton is missing, or TensorFlow came first."""
    if importlib.util.find_spec("triton") is None:
        return None
    if "tensorflow" in sys.modules and "triton" not in sys.modules:
        # Both contain an LLVM. Triton's ends the process if it finds the options of TensorFlow's
        # (Triton 3.9, TensorFlow 2.21); in the other order they work together.
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
    """Return the compiled convolutions, or None where there are no compiled kernels.

    They are written in LLVM's instructions, by llvmlite and by parts of Numba that it does not
    document (seen in Numba 0.68 and llvmlite 0.50). So one is compiled on trial.
    """
    if for_cpu() is None:
        return None
    try:
        importlib.import_module("mapdrop.kernels.convolution.microkernel").try_out()
        return importlib.import_module("mapdrop.kernels.convolution")
    except Exception as problem:  # Numba wraps what goes wrong in errors of its own.
        warnings.warn(
            "This Numba does not compile mapdrop's convolutions, so compact uses PyTorch's: "
            f"{type(problem).__name__}: {problem}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


@cache
def for_small() -> ModuleType | None:
    """Return the compiled kernels for few values; None if there are no compiled kernels."""
    return None if for_cpu() is None else importlib.import_module("mapdrop.kernels.small")


@cache
def for_blocks() -> ModuleType | None:
    """Return the compiled kernels for masks of blocks; None if there are no compiled kernels."""
    return None if for_cpu() is None else importlib.import_module("mapdrop.kernels.block")


@cache
def for_gather() -> ModuleType | None:
    """Return the compiled gather of weights; None if there are no compiled kernels."""
    return None if for_cpu() is None else importlib.import_module("mapdrop.kernels.gather")

"""Warnings that point at the user's line, not at mapdrop's or a framework's."""

from __future__ import annotations

import sys
import warnings

_BETWEEN = {"mapdrop", "torch", "jax", "flax", "equinox", "keras", "tensorflow", "functools"}


def warn_user(message: str) -> None:
    """Warn as if from the line that called mapdrop, directly or through a framework."""
    level, frame = 1, sys._getframe()
    while frame.f_back and _package(frame.f_globals) in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _package(module: dict[str, object]) -> str:
    return str(module.get("__name__")).partition(".")[0]

"""Numba's njit as the kernels use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Numba's njit, cached on disk where there is a place to write to."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # Numba: no writable cache folder. Then compile in each process.
            return njit(nogil=True, **options)(function)

    return decorate

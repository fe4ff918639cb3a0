"""Numba's njit as the kernels use it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Numba's njit, cached on disk where there is a place to write to."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            kernel = njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # Numba: no writable cache folder. Then compile in each process.
            return njit(nogil=True, **options)(function)
        # Numba compiles anew when the function's own file changed; but what it calls counts too.
        kernel._cache._cache_file._source_stamp = _sources()
        return kernel

    return decorate


@cache
def _sources() -> str:
    """Changes with any file of the kernels."""
    here = Path(__file__).parent
    files = sorted(here.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

"""Numba's njit as the kernels use it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return Numba's njit, cached on disk where there is a place to write to."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            kernel = njit(nogil=True, cache=True, **options)(function)
            kernel._cache = _Cache(kernel._cache)
        except (RuntimeError, AttributeError):
            # No writable cache folder; or a Numba whose cache has other parts, which might give
            # what was compiled from other sources. Then compile in each process.
            return njit(nogil=True, **options)(function)
        return kernel

    return decorate


class _Cache:
    """Numba's cache of a function, from which nothing can keep the function from running.

    A damaged entry counts as none and is written anew, one that cannot be written is left out.
    Raises AttributeError where Numba's cache has no stamp of its sources.
    """

    def __init__(self, numbas: Any) -> None:
        if not hasattr(numbas._cache_file, "_source_stamp"):
            raise AttributeError("_source_stamp")
        # Numba compiles anew when the function's own file changed; but what it calls counts too.
        numbas._cache_file._source_stamp = _sources()
        self._numbas = numbas

    def load_overload(self, *arguments: Any) -> Any:
        try:
            return self._numbas.load_overload(*arguments)
        except Exception:  # What is no whole pickle breaks the reader in every way there is.
            with suppress(OSError):
                self._numbas.flush()
            return None

    def save_overload(self, *arguments: Any) -> None:
        with suppress(Exception):  # A full disk, or a damaged index that could not be written anew.
            self._numbas.save_overload(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._numbas, name)


@cache
def _sources() -> str:
    """Return a text that changes with any file of the kernels."""
    here = Path(__file__).parent
    files = sorted(here.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

"""The functions of some files as they are in memory, which can become a mutant's."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator, Sequence
from functools import _lru_cache_wrapper
from types import CodeType, FunctionType
from typing import Any

from tests.mutants.mutant import Mutant
from tests.mutants.parts import SOURCE

_CALLED = inspect.CO_OPTIMIZED | inspect.CO_NEWLOCALS


class Live:
    """All functions of some files, and all caches of the package."""

    def __init__(self, files: Sequence[str]) -> None:
        paths = {str((SOURCE / file).resolve()) for file in files}
        objects = gc.get_objects()
        kind = FunctionType
        self._functions = [
            found for found in objects if type(found) is kind and found.__code__.co_filename in paths
        ]
        self._caches: list[Any] = [
            found
            for found in objects
            if type(found) is _lru_cache_wrapper and str(found.__module__).startswith("mapdrop")
        ]

    def forget_results(self) -> None:
        """Empty the caches."""
        for cache in self._caches:
            cache.cache_clear()

    def become(self, mutant: Mutant) -> bool:
        """Give functions a mutant's code. Return False where it changes what runs at import."""
        path = str((SOURCE / mutant.file).resolve())
        text = (SOURCE / mutant.file).read_text(encoding="utf-8")
        old, new = (
            compile(source, path, "exec", dont_inherit=True) for source in (text, mutant.source)
        )
        try:
            changed = dict(_changed(old, new))
        except _RunsAtImport:
            return False
        own = [function for function in self._functions if function.__code__ in changed]
        for function in own:
            function.__code__ = changed[function.__code__]
        return bool(own)


class _RunsAtImport(Exception):  # noqa: N818 - it is no error
    pass


def _changed(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield functions' codes with those that take their place."""
    pairs = list(zip(_within(old), _within(new), strict=False))
    if not _is_function(old) and not _alike(old, new):
        raise _RunsAtImport
    if old.co_freevars != new.co_freevars or len(_within(old)) != len(_within(new)):
        raise _RunsAtImport
    if _is_function(old) and old != new:
        yield old, new
    for inner, other in pairs:
        yield from _changed(inner, other)


def _within(code: CodeType) -> list[CodeType]:
    return [found for found in code.co_consts if isinstance(found, CodeType)]


def _is_function(code: CodeType) -> bool:
    comprehension = code.co_name in ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
    return code.co_flags & _CALLED == _CALLED and not comprehension


def _alike(old: CodeType, new: CodeType) -> bool:
    """Return whether two codes do the same but for the functions that they define."""
    return _outside(old) == _outside(new)


def _outside(code: CodeType) -> Any:
    consts = [None if isinstance(found, CodeType) else repr(found) for found in code.co_consts]
    return code.co_code, consts, code.co_names, code.co_varnames, code.co_cellvars

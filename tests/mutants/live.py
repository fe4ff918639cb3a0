"""The functions of some files as they are in memory, which can become a mutant's."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Iterator, Sequence
from functools import _lru_cache_wrapper
from pathlib import Path
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
            found
            for found in objects
            if type(found) is kind and found.__code__.co_filename in paths
        ]
        self._caches = [found for found in objects if _keeps_results(found)]

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
            changed = dict(changed_codes(old, new))
        except RunsAtImport:
            return False
        own = [function for function in self._functions if function.__code__ in changed]
        for function in own:
            function.__code__ = changed[function.__code__]
        return bool(own)

    def refill(self, mutant: Mutant) -> None:
        """Run a mutant in the place of its module, whose dictionaries stay the same objects."""
        space = vars(sys.modules[module_of(mutant.file)])
        tables = {name: value for name, value in space.items() if type(value) is dict}
        exec(compile(mutant.source, str(SOURCE / mutant.file), "exec", dont_inherit=True), space)
        for name, table in tables.items():
            if space[name] is not table:
                table.clear()
                table.update(space[name])
                space[name] = table


def module_of(file: str) -> str:
    """Return the name of the module that a file defines."""
    return ".".join(("mapdrop", *Path(file).with_suffix("").parts))


def _keeps_results(found: Any) -> bool:
    """Return whether it is a cache of ours, and no function that does something once."""
    ours = type(found) is _lru_cache_wrapper and str(found.__module__).startswith("mapdrop")
    return ours and found.__wrapped__.__code__.co_argcount > 0


class RunsAtImport(Exception):  # noqa: N818 - no error
    """Raised where a change is not in a function's code alone."""


def changed_codes(
    old: CodeType, new: CodeType, called: bool = False
) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield functions' codes with those that take their place; `called`: they lie in a function."""
    called = called or _is_function(old)
    alike = called or _outside(old) == _outside(new)
    pairs = list(zip(_within(old), _within(new), strict=False))
    if not alike or len(_within(old)) != len(_within(new)) or old.co_freevars != new.co_freevars:
        raise RunsAtImport
    if called and old != new:
        yield old, new
    for inner, other in pairs:
        yield from changed_codes(inner, other, called)


def _within(code: CodeType) -> list[CodeType]:
    return [found for found in code.co_consts if isinstance(found, CodeType)]


def _is_function(code: CodeType) -> bool:
    comprehension = code.co_name in ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
    return code.co_flags & _CALLED == _CALLED and not comprehension


def _outside(code: CodeType) -> Any:
    """Return what a code does, but for what the functions do that it defines."""
    consts = [None if isinstance(found, CodeType) else repr(found) for found in code.co_consts]
    return code.co_code, consts, code.co_names, code.co_varnames, code.co_cellvars

"""Which frameworks there are to check, and which of them are installed here."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mapdrop.check.rows import MISSING, Row

NAMES = ("numpy", "torch", "jax", "tensorflow", "keras")
_BACKENDS = ("tensorflow", "torch", "jax")


@dataclass(frozen=True)
class Framework:
    """One to check, in a process of its own.

    Attributes:
        name: what it is called in the table.
        module: that of `mapdrop.check.ways` which knows it.
        backend: Keras', which is chosen when it is imported.
    """

    name: str
    module: str
    backend: str = ""


def chosen(only: str) -> list[str]:
    """The names that `--only` lists, or all. Raises ValueError for one that is not known."""
    names = [name.strip() for name in only.split(",")] if only else list(NAMES)
    for name in names:
        if name not in NAMES:
            raise ValueError(f"--only {only}: {name!r} is not one of {', '.join(NAMES)}")
    return [name for name in NAMES if name in names]


def found(names: Collection[str]) -> Iterator[Framework | Row]:
    """Those to check; for one that is not installed its row. Imports none of them."""
    for name in names:
        if not _installed(name):
            extra = "keras,tensorflow" if name == "keras" else name
            yield _missing(name, f'not installed: pip install "mapdrop[{extra}]"')
        elif name != "keras":
            yield Framework(name, name)
        else:
            yield from _keras()


def _keras() -> Iterator[Framework | Row]:
    backends = [backend for backend in _BACKENDS if _installed(backend)]
    for backend in backends:
        yield Framework(f"keras ({backend})", "keras", backend)
    if not backends:
        yield _missing("keras", 'has no backend here: pip install "mapdrop[keras,tensorflow]"')


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _missing(name: str, reason: str) -> Row:
    return Row(name, status=MISSING, reason=reason)

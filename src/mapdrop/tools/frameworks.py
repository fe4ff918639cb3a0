"""Which frameworks there are, and which of them are installed here."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator
from dataclasses import dataclass

NAMES = ("numpy", "torch", "jax", "tensorflow", "keras")
_BACKENDS = ("tensorflow", "torch", "jax")


@dataclass(frozen=True)
class Framework:
    """One that is here.

    Attributes:
        name: what it is called in a table.
        module: what modules of ways to use it are called.
        backend: Keras', which is chosen when it is imported.
    """

    name: str
    module: str
    backend: str = ""


@dataclass(frozen=True)
class Absent:
    """One that is not, and what to do about it."""

    name: str
    reason: str


def chosen(only: str) -> list[str]:
    """The names that `--only` lists, or all. Raises ValueError for one that is not known."""
    names = [name.strip() for name in only.split(",")] if only else list(NAMES)
    for name in names:
        if name not in NAMES:
            raise ValueError(f"--only {only}: {name!r} is not one of {', '.join(NAMES)}")
    return [name for name in NAMES if name in names]


def found(names: Collection[str]) -> Iterator[Framework | Absent]:
    """Those of these names, Keras once for each backend. Imports none of them."""
    for name in names:
        if not _installed(name):
            extra = "keras,tensorflow" if name == "keras" else name
            yield Absent(name, f'not installed: pip install "mapdrop[{extra}]"')
        elif name != "keras":
            yield Framework(name, name)
        else:
            yield from _keras()


def _keras() -> Iterator[Framework | Absent]:
    backends = [backend for backend in _BACKENDS if _installed(backend)]
    for backend in backends:
        yield Framework(f"keras ({backend})", "keras", backend)
    if not backends:
        yield Absent("keras", 'has no backend here: pip install "mapdrop[keras,tensorflow]"')


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None

"""Which frameworks are installed here."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mapdrop.backends.registry import FRAMEWORKS
from mapdrop.system.extras import remedy

NAMES = ",".join(FRAMEWORKS)
"""As `--only` takes them."""


@dataclass(frozen=True)
class Installed:
    """A framework that can be imported.

    Attributes:
        title: its name in a table.
        name: of its module, and of its adapter's.
        runs_on: the framework that Keras works on, which is chosen when Keras is imported.
    """

    title: str
    name: str
    runs_on: str = ""


@dataclass(frozen=True)
class Missing:
    """A framework that cannot be imported, and what to do about it."""

    title: str
    reason: str


def selected(only: str) -> list[str]:
    """Return the names that `--only` lists, or all.

    Raises:
        ValueError: for a name that is not known.
    """
    names = [name.strip() for name in only.split(",")] if only else list(FRAMEWORKS)
    for name in names:
        if name not in FRAMEWORKS:
            raise ValueError(f"--only {only}: {name!r} is not one of {', '.join(FRAMEWORKS)}")
    return [name for name in FRAMEWORKS if name in names]


def find(names: Collection[str]) -> Iterator[Installed | Missing]:
    """Look for these frameworks, for Keras once on each that it works on. Imports none of them."""
    for name in names:
        framework = FRAMEWORKS[name]
        install = remedy(framework.extras or name)
        found = [other for other in framework.runs_on if _is_installed(other)]
        if not _is_installed(name):
            yield Missing(name, f"not installed: {install}")
        elif framework.runs_on and not found:
            yield Missing(name, f"has no backend here: {install}")
        elif found:
            yield from (Installed(f"{name} ({other})", name, other) for other in found)
        else:
            yield Installed(name, name)


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None

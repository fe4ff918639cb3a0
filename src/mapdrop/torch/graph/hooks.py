"""Hooks for all modules, which see whole arrays."""

from __future__ import annotations

from mapdrop.backends.torch._internals import global_hooks


def all_hooked() -> bool:
    """Return whether hooks for all modules are registered, as profilers do."""
    return any(global_hooks())

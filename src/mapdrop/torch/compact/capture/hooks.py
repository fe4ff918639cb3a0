"""Find hooks. A module that has any is called as it is, with dense arrays."""

from __future__ import annotations

from torch import nn

from mapdrop.backends.torch._internals import COMPILED_CALL, MODULE_HOOKS, global_hooks


def hooked(module: nn.Module) -> bool:
    """Return whether a module has hooks, or was compiled."""
    own = module.__dict__
    return any(own.get(name) for name in MODULE_HOOKS) or own.get(COMPILED_CALL) is not None


def all_hooked() -> bool:
    """Return whether hooks for all modules are registered, as profilers do."""
    return any(global_hooks())

"""Find hooks. A module that has any is called as it is, with dense arrays."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as _modules

_OWN = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooked(module: nn.Module) -> bool:
    """Return whether a module has hooks, or was compiled."""
    own = module.__dict__
    return any(own.get(name) for name in _OWN) or own.get("_compiled_call_impl") is not None


def all_hooked() -> bool:
    """Return whether hooks for all modules are registered, as profilers do."""
    return any(getattr(_modules, f"_global{name}", None) for name in _OWN)

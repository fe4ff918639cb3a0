"""What PyTorch's compiler is told of compact models: numbers, because it passes no modules on."""

from __future__ import annotations

from weakref import WeakValueDictionary

from torch import nn

from mapdrop.torch.layers import Drop

VIEWS: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()
"""Compact models by `id`."""


def has_exact_drops(model: nn.Module) -> bool:
    """Return whether any layer of the model drops an exact number."""
    return any(isinstance(m, Drop) and m.exact is not None for m in model.modules())

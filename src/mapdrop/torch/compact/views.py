"""Compact models by `id`: PyTorch's compiler passes numbers and tensors on, but no modules."""

from __future__ import annotations

from weakref import WeakValueDictionary

from torch import nn

VIEWS: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()

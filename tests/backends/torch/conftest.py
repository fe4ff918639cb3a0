"""PyTorch's own generator starts alike in every test here, too."""

from __future__ import annotations

from tests.torch.conftest import _generator as _generator

"""PyTorch's own generator starts alike in every test: what is fresh here is the same each time."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _generator() -> None:
    torch.manual_seed(0)

"""Capture models faster than PyTorch's compiler does on its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch._dynamo.guards


@pytest.fixture(autouse=True, scope="session")
def _guards_are_not_timed() -> Iterator[None]:
    """Skip the timing of each model's guards, for which PyTorch empties the processor's caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch._dynamo.guards, "profile_guard_manager", lambda *given: 0.0)
        yield

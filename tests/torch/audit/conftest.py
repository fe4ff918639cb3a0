"""Audit without what takes long, where a test is of something else."""

from __future__ import annotations

from importlib import import_module

import pytest

# Their package has the name of the function, which hides it.
AUDIT, MEASURE = (import_module(f"mapdrop.torch.audit.{name}") for name in ("audit", "measure"))


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave compact's compiler to the tests that are marked so, and long measuring to their own."""
    if request.node.get_closest_marker("compiler") is None:
        monkeypatch.setattr(AUDIT, "_skipped", lambda model, given: (None, []))
    if request.node.get_closest_marker("exhaustive") is None:
        monkeypatch.setattr(MEASURE, "_SECONDS", 0.02)

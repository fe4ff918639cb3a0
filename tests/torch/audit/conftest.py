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
    # Long enough on a machine that does other things, too: a rate is told by the number of coins.
    exhaustive = request.node.get_closest_marker("exhaustive") is not None
    monkeypatch.setattr(MEASURE, "_SECONDS", 4.0 if exhaustive else 0.02)

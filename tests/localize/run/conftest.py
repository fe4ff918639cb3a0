"""Settings of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.localize import pictured


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures with two joints."""
    return pictured.write(tmp_path_factory.mktemp("spots"))

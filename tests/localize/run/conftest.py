"""Fixtures of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.localize import spots


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write twelve images with two joints."""
    return spots.write(tmp_path_factory.mktemp("spots"))

"""Fixtures of these tests."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest

from mapdrop.localize.data import KeypointData
from mapdrop.study.grid import Cell
from mapdrop.study.runner import Settings
from mapdrop.study.workers import Finished, run_cell
from tests.localize.conftest import one_thread as one_thread


@pytest.fixture
def cells_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run cells in the test's own process: to start one takes longer than its cells."""

    def here(
        cells: Sequence[Cell], data: KeypointData, settings: Settings, jobs: int
    ) -> Generator[Finished]:
        for cell in cells:
            yield run_cell(cell, data, settings)

    monkeypatch.setattr("mapdrop.study.workers.processes", here)

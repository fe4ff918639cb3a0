"""Processes that run cells: failures, deaths, and the same result wherever a cell runs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from mapdrop.localize.data import KeypointData, LoadOptions, load
from mapdrop.localize.train import Recipe
from mapdrop.study.conditions import Condition
from mapdrop.study.grid import Cell
from mapdrop.study.rows import Row
from mapdrop.study.runner import Inputs, RunResult, Settings, run
from mapdrop.study.workers import Finished, Steps, processes
from tests import process

SETTINGS = Settings(width=2, banks=1, recipe=Recipe(steps=20, batch=2))
CELLS = [
    Cell(Condition(drop, 0.5), size, seed=1) for size in (2, 4) for drop in ("none", "spatial")
]
BROKEN = Cell(Condition("none", 0.0), 99, 1)
"""Asks for more images than there are."""


@pytest.fixture(scope="module")
def data() -> KeypointData:
    return load("scenes", LoadOptions(train_size=4, validation_size=2, test_size=3))


def finished(events: Generator[Steps | Finished]) -> dict[Cell, RunResult | str]:
    with closing(events):
        return {event.cell: event.result for event in events if isinstance(event, Finished)}


def without_time(result: RunResult | str) -> Row:
    assert isinstance(result, RunResult), result
    return {name: value for name, value in result.row.items() if name != "seconds"}


@pytest.fixture(scope="module")
def events(data: KeypointData) -> list[Steps | Finished]:
    """Return all events of two processes."""
    with closing(processes([*CELLS, BROKEN], data, SETTINGS, 2)) as events:
        return list(events)


def test_a_cell_is_the_same_in_whatever_process_it_runs(
    data: KeypointData, events: list[Steps | Finished]
) -> None:
    found = {event.cell: event.result for event in events if isinstance(event, Finished)}
    assert torch.get_num_threads() == 1
    for cell in CELLS:
        there, here = found[cell], run(cell, data, Inputs.of(data), SETTINGS)
        assert isinstance(there, RunResult), there
        assert without_time(there) == without_time(here)
        np.testing.assert_array_equal(there.heat_maps, here.heat_maps)
    # A cell that fails says why, and the others continue.
    assert (
        found[BROKEN] == "DataError: scenes has 4 training images, not 99; use another --train-size"
    )
    assert len({str(without_time(found[cell])["errors"]) for cell in CELLS}) == len(CELLS)


def test_steps_are_reported_as_they_are_made(events: list[Steps | Finished]) -> None:
    for cell in CELLS:
        *steps, end = (event for event in events if event.cell == cell)
        assert steps == [Steps(cell, 10)] * 2
        assert isinstance(end, Finished)


def test_a_process_takes_only_its_cell_when_it_dies_and_ends_with_the_study(
    data: KeypointData,
) -> None:
    long = Settings(width=2, banks=1, recipe=Recipe(steps=100_000, batch=2))
    with closing(processes([CELLS[0], BROKEN, CELLS[1]], data, long, 1)) as events:
        assert next(events) == Steps(CELLS[0], 10)
        (child,) = active_children()
        child.kill()
        died = next(event for event in events if isinstance(event, Finished))
        assert died == Finished(CELLS[0], "its process ended with exit code -9")
        failed = next(events)
        assert isinstance(failed, Finished)
        assert failed.cell == BROKEN
        assert "not 99" in str(failed.result)
        assert next(events) == Steps(CELLS[1], 10)
        (child,) = active_children()
    assert not child.is_alive()
    assert active_children() == []


def test_a_ray_cluster_gives_the_same() -> None:
    """In a process of its own: Ray forks, which JAX, once it is here, warns of."""
    body = Path(__file__).with_name("cluster.py")
    process.check_passed(process.run(body), body, 1)

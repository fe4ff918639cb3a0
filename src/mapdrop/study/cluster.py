"""Cells run on a Ray cluster, each as a task of one core."""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence
from typing import Any

from mapdrop.localize.data import KeypointData
from mapdrop.study.grid import Cell
from mapdrop.study.runner import Settings
from mapdrop.study.workers import Finished, attempt


def check_reachable(address: str) -> None:
    """Check that somebody listens there, which Ray itself finds out in minutes.

    Raises:
        ConnectionError: when nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:  # "auto" and "local" name no place.
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise ConnectionError(f"nothing answers at {address}: {error}") from error


def ray_tasks(
    cells: Sequence[Cell], data: KeypointData, settings: Settings, address: str
) -> Generator[Finished]:
    """Runs all cells and tells of each as it is finished.

    A task that a node took with it is a cell that failed, like any other.

    Args:
        address: as `ray.init` takes it: "auto", "ray://host:10001", or "local" for this machine.

    Raises:
        ConnectionError: when there is no cluster.
    """
    import ray

    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ValueError, RuntimeError) as error:  # As Ray says it where it reads an address anew.
        raise ConnectionError(f"there is no Ray cluster at {address}: {error}") from error
    try:
        task: Any = ray.remote(num_cpus=1, max_retries=0)(attempt)
        there = ray.put(data)
        running = {task.remote(cell, there, settings): cell for cell in cells}
        while running:
            ready, _ = ray.wait(list(running))
            for reference in ready:
                cell = running.pop(reference)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayError as error:
                    yield Finished(cell, f"{type(error).__name__}: {error}")
    finally:
        ray.shutdown()

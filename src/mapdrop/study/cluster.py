"""Run cells on a Ray cluster, each as a task of one core."""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence
from typing import Any

from mapdrop.localize.data import KeypointData
from mapdrop.study.grid import Cell
from mapdrop.study.runner import Settings
from mapdrop.study.workers import Finished, run_cell


def check_reachable(address: str) -> None:
    """Check that a server listens at an address; Ray itself takes minutes to notice.

    Raises:
        ConnectionError: when none does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:  # "auto" and "local" are no addresses.
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise ConnectionError(f"nothing listens at {address}: {error}") from error


def ray_tasks(
    cells: Sequence[Cell], data: KeypointData, settings: Settings, address: str
) -> Generator[Finished]:
    """Run all cells, and yield each as it finishes.

    A task that is lost with its node counts as a failed cell.

    Args:
        address: an address for `ray.init`: "auto", "ray://host:10001", or "local" for this machine.

    Raises:
        ConnectionError: when there is no cluster.
    """
    import ray

    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ValueError, RuntimeError) as error:  # Ray raises these, too, for an address.
        raise ConnectionError(f"there is no Ray cluster at {address}: {error}") from error
    try:
        task: Any = ray.remote(num_cpus=1, max_retries=0)(run_cell)
        reference = ray.put(data)
        running = {task.remote(cell, reference, settings): cell for cell in cells}
        while running:
            ready, _ = ray.wait(list(running))
            for finished in ready:
                cell = running.pop(finished)
                try:
                    yield ray.get(finished)
                except ray.exceptions.RayError as error:
                    yield Finished(cell, f"{type(error).__name__}: {error}")
    finally:
        ray.shutdown()

"""Run cells in separate processes, each with one thread, so that results don't depend on cores.

When a process dies (killed by the system, out of memory), only its cell fails.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import torch

from mapdrop.localize.data import KeypointData
from mapdrop.study.grid import Cell
from mapdrop.study.runner import Inputs, RunResult, Settings, run

REPORT_EVERY = 10
"""Number of steps after which a process reports its progress."""


class Steps(NamedTuple):
    """An event: a cell has made some more steps."""

    cell: Cell
    number: int


class Finished(NamedTuple):
    """An event: a cell has finished, or failed with the error `result`."""

    cell: Cell
    result: RunResult | str


@dataclass
class Worker:
    """A process, the connection to it, and its present cell."""

    process: Any
    connection: Connection
    cell: Cell | None = None


def processes(
    cells: Sequence[Cell], data: KeypointData, settings: Settings, jobs: int
) -> Generator[Steps | Finished]:
    """Run all cells, `jobs` at a time, and yield their events.

    Cells start in order. Closing the iterator stops the processes.
    """
    waiting = deque(cells)
    workers = [_start(data, settings) for _ in range(min(jobs, len(cells)))]
    try:
        for worker in workers:
            _send_next(worker, waiting)
        while busy := [worker for worker in workers if worker.cell is not None]:
            for ready in wait([worker.connection for worker in busy]):
                worker = next(worker for worker in busy if worker.connection is ready)
                try:
                    event = worker.connection.recv()
                except (EOFError, ConnectionError):
                    event = _failure(worker)
                    workers[workers.index(worker)] = worker = _start(data, settings)
                if isinstance(event, Finished):
                    _send_next(worker, waiting)
                yield event
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()


def _start(data: KeypointData, settings: Settings) -> Worker:
    context = multiprocessing.get_context("spawn")  # A fork of a process with threads may hang.
    connection, remote = context.Pipe()
    process = context.Process(target=_work, args=(remote, data, settings), daemon=True)
    process.start()
    remote.close()  # Only the process holds it now, so its death closes the pipe.
    return Worker(process, connection)


def _send_next(worker: Worker, waiting: deque[Cell]) -> None:
    worker.cell = waiting.popleft() if waiting else None
    if worker.cell is not None:
        with suppress(ConnectionError):  # The process has died; reading from it will show that.
            worker.connection.send(worker.cell)


def _failure(worker: Worker) -> Finished:
    worker.process.join()
    cell = worker.cell
    assert cell is not None
    return Finished(cell, f"its process ended with exit code {worker.process.exitcode}")


def _work(connection: Connection, data: KeypointData, settings: Settings) -> None:
    """Run in the process: receive cells, send their events."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The study itself stops its processes.
    with suppress(EOFError, ConnectionError):  # The study has ended.
        while True:
            cell = connection.recv()
            steps = count(1)

            def on_step(cell: Cell = cell, steps: Iterator[int] = steps) -> None:
                if next(steps) % REPORT_EVERY == 0:
                    connection.send(Steps(cell, REPORT_EVERY))

            connection.send(run_cell(cell, data, settings, on_step))


def run_cell(
    cell: Cell,
    data: KeypointData,
    settings: Settings,
    on_step: Callable[[], None] = lambda: None,
) -> Finished:
    """Run one cell in one thread; return its result or its error."""
    torch.set_num_threads(1)
    try:
        return Finished(cell, run(cell, data, Inputs.of(data), settings, on_step))
    except ConnectionError:
        raise
    except Exception as error:  # Whatever the error is, the other cells continue.
        return Finished(cell, f"{type(error).__name__}: {error}")

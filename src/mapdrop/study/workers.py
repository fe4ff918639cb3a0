"""Cells run in processes of their own, each with one thread, so that any machine gives the same.

A process that dies (killed by the system, out of memory) takes its cell with it and nothing else.
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
from mapdrop.study.runner import Inputs, Outcome, Settings, run

REPORTED = 10
"""A process tells after so many steps how far it is."""


class Steps(NamedTuple):
    """Some steps more of a cell were made."""

    cell: Cell
    number: int


class Finished(NamedTuple):
    """A cell was run, or failed: then `outcome` says how."""

    cell: Cell
    outcome: Outcome | str


@dataclass
class Worker:
    """A process, how to talk to it, and what it is doing."""

    process: Any
    connection: Connection
    cell: Cell | None = None


def processes(
    cells: Sequence[Cell], data: KeypointData, settings: Settings, jobs: int
) -> Generator[Steps | Finished]:
    """Runs all cells, `jobs` at a time, and tells of each as it is finished.

    Cells are started in their order. When the iterator is closed the processes are stopped.
    """
    waiting, workers = (
        deque(cells),
        [_started(data, settings) for _ in range(min(jobs, len(cells)))],
    )
    try:
        for worker in workers:
            _next(worker, waiting)
        while busy := [worker for worker in workers if worker.cell is not None]:
            for ready in wait([worker.connection for worker in busy]):
                worker = next(worker for worker in busy if worker.connection is ready)
                try:
                    said = worker.connection.recv()
                except (EOFError, ConnectionError):
                    said = _died(worker)
                    workers[workers.index(worker)] = worker = _started(data, settings)
                if isinstance(said, Finished):
                    _next(worker, waiting)
                yield said
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()


def _started(data: KeypointData, settings: Settings) -> Worker:
    context = multiprocessing.get_context("spawn")  # A fork of a process with threads may hang.
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, data, settings), daemon=True)
    process.start()
    theirs.close()  # Now only the process has it, and its death is an end of file.
    return Worker(process, ours)


def _next(worker: Worker, waiting: deque[Cell]) -> None:
    worker.cell = waiting.popleft() if waiting else None
    if worker.cell is not None:
        with suppress(ConnectionError):  # It has died: reading from it will tell.
            worker.connection.send(worker.cell)


def _died(worker: Worker) -> Finished:
    worker.process.join()
    cell = worker.cell
    assert cell is not None
    return Finished(cell, f"its process ended with exit code {worker.process.exitcode}")


def _work(connection: Connection, data: KeypointData, settings: Settings) -> None:
    """The process's life: a cell comes in, steps and an outcome go out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The study stops its processes itself.
    with suppress(EOFError, ConnectionError):  # The study has ended.
        while True:
            cell = connection.recv()
            steps = count(1)

            def on_step(cell: Cell = cell, steps: Iterator[int] = steps) -> None:
                if next(steps) % REPORTED == 0:
                    connection.send(Steps(cell, REPORTED))

            connection.send(attempt(cell, data, settings, on_step))


def attempt(
    cell: Cell,
    data: KeypointData,
    settings: Settings,
    on_step: Callable[[], None] = lambda: None,
) -> Finished:
    """One cell in one thread, or what went wrong with it."""
    torch.set_num_threads(1)
    try:
        return Finished(cell, run(cell, data, Inputs.of(data), settings, on_step))
    except ConnectionError:
        raise
    except Exception as error:  # Whatever it is, the other cells go on.
        return Finished(cell, f"{type(error).__name__}: {error}")

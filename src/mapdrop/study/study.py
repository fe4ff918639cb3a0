"""A whole study: time the steps, run the grid, save every row; or go on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import partial
from hashlib import blake2b
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mapdrop.localize.data import DataError, KeypointData
from mapdrop.localize.machine import machine, versions
from mapdrop.study.conditions import Condition
from mapdrop.study.examples import Pictures, keep
from mapdrop.study.grid import Cell
from mapdrop.study.rows import OutputExistsError, Row, RowFile
from mapdrop.study.runner import Inputs, Settings, guess
from mapdrop.study.summary import costs, failures, pck_at, timings
from mapdrop.study.timing import step_times, steps_timed
from mapdrop.study.workers import Finished, Steps
from mapdrop.system.printable import plain
from mapdrop.torch.compact import Costs, calibrate

Executor = Callable[[Sequence[Cell], Settings], Generator[Steps | Finished]]
"""Runs cells, wherever, and tells how far it is and what came out."""


@dataclass(frozen=True)
class Study:
    """What to run.

    Attributes:
        data: what it runs on; all training sizes are in it.
        cells: every run; a folder that has some of them already goes on with the rest.
        settings: what is the same in all of them.
        folder: where rows.jsonl and the examples go.
        executor: runs the cells.
        retry: whether cells that failed earlier are tried again.
    """

    data: KeypointData
    cells: Sequence[Cell]
    settings: Settings
    folder: Path
    executor: Executor
    retry: bool = False

    @property
    def conditions(self) -> list[Condition]:
        """Each once, in the order of the cells."""
        return list(dict.fromkeys(cell.condition for cell in self.cells))

    def perform(self, console: Console) -> list[Row]:
        """Runs what is not there yet; all rows, the first of kind "study".

        Raises:
            DataError: when there is no validation image, and rates to choose from.
            OutputExistsError: when the folder holds another study, or somebody is running this one.
        """
        drops = {condition.drop for condition in self.conditions}
        if len(drops) < len(self.conditions) and not len(self.data.validation):
            raise DataError(
                f"{self.data.name} has no images left to validate on, which choose among rates; "
                "ask for one rate, or label more images"
            )
        with RowFile(self.folder) as file:
            console.print(plain(f"rows: {file.path}"), highlight=False, soft_wrap=True)
            self._begin(file)
            with _progress(console) as progress:
                self._run(file, self._measured(file), console, progress)
            return file.rows

    def _begin(self, file: RowFile) -> None:
        asked = {"data": self._about(), "settings": self.settings.to_row()}
        if not file.rows:
            about = {"guess": guess(self.data), "machine": machine(), **self._common()}
            file.append({"kind": "study", **asked, **about})
        for part, value in asked.items():
            there = file.rows[0].get(part)
            if there != _as_read(value):
                raise OutputExistsError(
                    f"{file.path} is of a study with other {part}: "
                    f"{_first_difference(there, value)}; ask for the same, or choose another --out"
                )
        Pictures.of(self.data).keep(self.folder)

    def _measured(self, file: RowFile) -> Settings:
        """The settings with the study's own costs where a condition needs them.

        They decide what compact steps skip: measured by each process they would not be the same
        in all of them, nor after a restart.
        """
        if not any(condition.compact for condition in self.conditions):
            return self.settings
        found = costs(file.rows)
        if found is None:
            found = _of_one_thread()
            file.append({"kind": "costs", "costs": asdict(found), **self._common()})
        return replace(self.settings, costs=found)

    def _run(self, file: RowFile, settings: Settings, console: Console, progress: Progress) -> None:
        """Step times, then every cell that has no row."""
        done = {Cell.of(row) for row in file.rows if row["kind"] == "run"}
        failed = {} if self.retry else failures(file.rows)
        waiting = [cell for cell in self.cells if cell not in done and cell not in failed]
        untimed = [c for c in self.conditions if c not in timings(file.rows)]
        steps = settings.recipe.steps
        total = (steps_timed(untimed) if untimed else 0) + len(waiting) * steps
        task = progress.add_task("timing the steps", total=total)
        if untimed:
            advance = partial(progress.advance, task)
            inputs = Inputs.of(self.data)
            for row in step_times(untimed, self.data, inputs, settings, on_step=advance):
                file.append({**row, **self._common()})
        progress.update(task, description=f"{len(done)} of {len(self.cells)} runs done")
        longest = max(len(cell.condition.label) for cell in self.cells)
        told: dict[Cell, int] = {}
        with closing(self.executor(waiting, settings)) as events:
            for event in events:
                if isinstance(event, Steps):
                    told[event.cell] = told.get(event.cell, 0) + event.number
                    progress.advance(task, event.number)
                    continue
                event = self._save(file, event)
                done.add(event.cell)
                progress.advance(task, steps - told.get(event.cell, 0))
                progress.update(task, description=f"{len(done)} of {len(self.cells)} runs done")
                console.print(plain(self._line(event, longest)), highlight=False)

    def _save(self, file: RowFile, event: Finished) -> Finished:
        """The event as it was saved: a run whose figures are none has failed."""
        cell, outcome = event
        if not isinstance(outcome, str):
            # First, so that a row means that all of its cell is there.
            keep(self.folder, cell, outcome)
            try:
                file.append({**outcome.row, **self._common()})
                return event
            except ValueError as error:  # One that is not finite, for instance.
                outcome = str(error)
        file.append({"kind": "failed", **cell.to_row(), "error": outcome, **self._common()})
        return Finished(cell, outcome)

    def _common(self) -> Row:
        """What every row carries."""
        written = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return {"versions": versions(), "written": written}

    def _about(self) -> Row:
        data = self.data
        digest = blake2b(digest_size=16)
        for array in (data.images, data.points, data.train, data.validation, data.test):
            digest.update(array.tobytes())
        return {
            "name": data.name,
            "joints": list(data.joints),
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
            "working_size": [data.images.shape[2], data.images.shape[1]],
            "radii": list(data.radii),
            "unit": data.unit,
            "limits": data.limits,
            "digest": digest.hexdigest(),
        }

    def _line(self, event: Finished, longest: int) -> str:
        cell, outcome = event.cell, event.outcome
        start = f"{cell.condition.label:<{longest}}  {cell.train_size:4} images  seed {cell.seed}  "
        if isinstance(outcome, str):
            return f"{start}failed: {outcome}"
        radius = self.data.radii[0]
        share, seconds = pck_at(outcome.row, "test", radius), outcome.row["seconds"]
        return f"{start}test {share:5.1f} % within {radius:g} px  {seconds:5.1f} s"


def _of_one_thread() -> Costs:
    """This machine's constants for a run, which has one thread wherever it is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return calibrate()
    finally:
        torch.set_num_threads(threads)


def _as_read(value: Row) -> Row:
    """As JSON gives it back."""
    found: Row = json.loads(json.dumps(value))
    return found


def _first_difference(there: Row | None, asked: Row) -> str:
    for name, value in _as_read(asked).items():
        found = (there or {}).get(name)
        if found != value:
            return f"{name} {found} instead of {value}"
    return "something that this version does not know"


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        expand=True,
        transient=True,
        # Steps differ in cost from one dropout to the next, so look further back than usual.
        speed_estimate_period=60,
    )

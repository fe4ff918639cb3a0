"""Run a study: time the steps, run the grid, save every row; or resume an interrupted study."""

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
from mapdrop.study.examples import ExampleImages, save_example
from mapdrop.study.grid import Cell
from mapdrop.study.hard_images import save_hard_images
from mapdrop.study.rows import OutputExistsError, Row, RowFile
from mapdrop.study.runner import Inputs, Settings, baseline
from mapdrop.study.summary import costs, failures, pck_at, timings
from mapdrop.study.timing import step_times, steps_timed
from mapdrop.study.workers import Finished, Steps
from mapdrop.system.printable import plain
from mapdrop.torch.compact import Costs, calibrate

Executor = Callable[[Sequence[Cell], Settings], Generator[Steps | Finished]]
"""Runs cells, and yields their progress and results."""


@dataclass(frozen=True)
class Study:
    """A study to run.

    Attributes:
        data: the data set, which contains all training sizes.
        cells: all runs; those that the folder already has are not repeated.
        settings: shared by all cells.
        folder: holds rows.jsonl and the examples.
        executor: runs the cells.
        retry: whether to repeat cells that failed earlier.
    """

    data: KeypointData
    cells: Sequence[Cell]
    settings: Settings
    folder: Path
    executor: Executor
    retry: bool = False

    @property
    def conditions(self) -> list[Condition]:
        """Return the conditions, without duplicates, in the order of the cells."""
        return list(dict.fromkeys(cell.condition for cell in self.cells))

    def execute(self, console: Console) -> list[Row]:
        """Run the missing cells; return all rows, the first of kind "study".

        Raises:
            DataError: when several rates need validation images to choose from, and there are none.
            OutputExistsError: when the folder holds another study, or another process runs it.
        """
        drops = {condition.drop for condition in self.conditions}
        if len(drops) < len(self.conditions) and not len(self.data.validation):
            raise DataError(
                f"{self.data.name} has no images left to validate on, so rates can't be compared; "
                "pass one rate, or label more images"
            )
        with RowFile(self.folder) as file:
            console.print(plain(f"rows: {file.path}"), highlight=False, soft_wrap=True)
            self._begin(file)
            with _progress(console) as progress:
                self._run(file, self._with_costs(file), console, progress)
            save_hard_images(self.folder, self.data, file.rows)
            return file.rows

    def _begin(self, file: RowFile) -> None:
        identity = {"data": self._describe_data(), "settings": self.settings.to_row()}
        if not file.rows:
            about = {"guess": baseline(self.data), "machine": machine(), **self._common()}
            file.append({"kind": "study", **identity, **about})
        for part, value in identity.items():
            stored = file.rows[0].get(part)
            if stored != _as_json(value):
                raise OutputExistsError(
                    f"{file.path} is of a study with other {part}: "
                    f"{_first_difference(stored, value)}; use the same, or choose another --out"
                )
        ExampleImages.select(self.data).save(self.folder)

    def _with_costs(self, file: RowFile) -> Settings:
        """Return the settings, with the study's costs if a condition needs them.

        Costs decide what compact models skip. If each process calibrated its own, they would differ
        between processes and after a restart.
        """
        if not any(condition.compact for condition in self.conditions):
            return self.settings
        stored = costs(file.rows)
        if stored is None:
            stored = _calibrate_one_thread()
            file.append({"kind": "costs", "costs": asdict(stored), **self._common()})
        return replace(self.settings, costs=stored)

    def _run(self, file: RowFile, settings: Settings, console: Console, progress: Progress) -> None:
        """Time the steps, then run every cell that has no row."""
        done = {Cell.from_row(row) for row in file.rows if row["kind"] == "run"}
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
        steps_done: dict[Cell, int] = {}
        with closing(self.executor(waiting, settings)) as events:
            for event in events:
                if isinstance(event, Steps):
                    steps_done[event.cell] = steps_done.get(event.cell, 0) + event.number
                    progress.advance(task, event.number)
                    continue
                event = self._save(file, event)
                done.add(event.cell)
                progress.advance(task, steps - steps_done.get(event.cell, 0))
                progress.update(task, description=f"{len(done)} of {len(self.cells)} runs done")
                console.print(plain(self._line(event, longest)), highlight=False)

    def _save(self, file: RowFile, event: Finished) -> Finished:
        """Save an event and return it; a run with invalid metrics becomes a failure."""
        cell, result = event
        if not isinstance(result, str):
            # Save the example first, so that a row implies that its cell is complete.
            save_example(self.folder, cell, result)
            try:
                file.append({**result.row, **self._common()})
                return event
            except ValueError as error:  # A value that isn't finite, for instance.
                result = str(error)
        file.append({"kind": "failed", **cell.to_row(), "error": result, **self._common()})
        return Finished(cell, result)

    def _common(self) -> Row:
        """Return the fields that every row has."""
        written = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return {"versions": versions(), "written": written}

    def _describe_data(self) -> Row:
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
            "limits": " ".join([data.limits, *_left_out(data)]),
            "digest": digest.hexdigest(),
        }

    def _line(self, event: Finished, longest: int) -> str:
        cell, result = event.cell, event.result
        start = f"{cell.condition.label:<{longest}}  {cell.train_size:4} images  seed {cell.seed}  "
        if isinstance(result, str):
            return f"{start}failed: {result}"
        radius = self.data.radii[0]
        share, seconds = pck_at(result.row, "test", radius), result.row["seconds"]
        return f"{start}test {share:5.1f} % within {radius:g} px  {seconds:5.1f} s"


def _left_out(data: KeypointData) -> list[str]:
    return [f"Left out: {'; '.join(data.left_out)}."] if data.left_out else []


def _calibrate_one_thread() -> Costs:
    """Calibrate compact's constants with one thread, as in every run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return calibrate()
    finally:
        torch.set_num_threads(threads)


def _as_json(value: Row) -> Row:
    """Return a value after encoding and decoding as JSON."""
    decoded: Row = json.loads(json.dumps(value))
    return decoded


def _first_difference(stored: Row | None, requested: Row) -> str:
    for name, value in _as_json(requested).items():
        other = (stored or {}).get(name)
        if other != value:
            return f"{name} {other} instead of {value}"
    return "a value that this version does not know"


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
        # Step times differ between kinds of dropout, so average over a longer time.
        speed_estimate_period=60,
    )

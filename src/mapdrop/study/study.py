"""A whole study: time the steps, run the grid, save every row, draw and print the report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mapdrop.localize.data import KeypointData
from mapdrop.localize.machine import machine, versions
from mapdrop.study.conditions import Condition
from mapdrop.study.figure import draw
from mapdrop.study.grid import grid
from mapdrop.study.report import print_report
from mapdrop.study.rows import Row, RowFile
from mapdrop.study.runner import Inputs, Outcome, Settings, guess, run
from mapdrop.study.summary import pck_at
from mapdrop.study.timing import step_times, steps_timed


def perform(
    data: KeypointData,
    conditions: Sequence[Condition],
    seeds: int,
    settings: Settings,
    folder: Path,
    console: Console,
) -> list[Row]:
    """Runs a study, leaving rows.jsonl, report.txt and study.png in `folder`.

    Returns:
        all rows, the first of kind "study".

    Raises:
        OutputExistsError: when `folder` holds one already.
        TrainingDivergedError: when a run did; the rows before it are kept.
    """
    file = RowFile(folder)
    console.print(f"rows: {file.path}", highlight=False, soft_wrap=True)
    about = {"data": _about(data), "guess": guess(data), "machine": machine()}
    file.append({"kind": "study", **about, **_common(settings)})
    examples = _run_all(data, conditions, seeds, settings, file, console)
    picture = folder / "study.png"
    draw(picture, file.rows, data, examples)
    _save_text(folder / "report.txt", file.rows)
    print_report(console, file.rows)
    console.print(f"picture: {picture}", highlight=False, soft_wrap=True)
    return file.rows


def _run_all(
    data: KeypointData,
    conditions: Sequence[Condition],
    seeds: int,
    settings: Settings,
    file: RowFile,
    console: Console,
) -> list[Outcome]:
    """Step times, then every cell; the outcomes of the first seed, for the picture."""
    cells, inputs, examples = grid(conditions, seeds), Inputs.of(data), []
    longest = max(len(condition.label) for condition in conditions)
    with _progress(console) as progress:
        total = steps_timed(conditions) + len(cells) * settings.recipe.steps
        task = progress.add_task("timing the steps", total=total)
        advance = partial(progress.advance, task)
        for row in step_times(conditions, data, inputs, settings, on_step=advance):
            file.append({**row, **_common(settings)})
        for number, cell in enumerate(cells, start=1):
            running = f"{number}/{len(cells)} {cell.condition.label}, seed {cell.seed}"
            progress.update(task, description=running)
            outcome = run(cell, data, inputs, settings, advance)
            file.append({**outcome.row, **_common(settings)})
            console.print(_finished(outcome, data, longest), highlight=False)
            if cell.seed == 0:
                examples.append(outcome)
    return examples


def _common(settings: Settings) -> Row:
    """What every row carries."""
    written = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"settings": asdict(settings), "versions": versions(), "written": written}


def _about(data: KeypointData) -> Row:
    return {
        "name": data.name,
        "joints": list(data.joints),
        "train": len(data.train),
        "test": len(data.test),
        "working_size": [data.images.shape[2], data.images.shape[1]],
        "radii": list(data.radii),
        "unit": data.unit,
        "limits": data.limits,
    }


def _finished(outcome: Outcome, data: KeypointData, longest: int) -> str:
    radius = data.radii[0]
    share = pck_at(outcome.row, "test", radius)
    return (
        f"{outcome.cell.condition.label:<{longest}}  seed {outcome.cell.seed}  test {share:5.1f} % "
        f"within {radius:g} px  {outcome.row['seconds']:5.1f} s"
    )


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


def _save_text(path: Path, rows: Sequence[Row]) -> None:
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8") as file:
        print_report(Console(file=file, width=100), rows)
    os.replace(unfinished, path)

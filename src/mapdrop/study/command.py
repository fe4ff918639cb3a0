"""`mapdrop study`: the command line of a study. Heavy imports wait until a command runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mapdrop.localize.command.output import say_left_out
from mapdrop.localize.command.parsing import (
    parse_counts,
    parse_names,
    parse_numbers,
    parse_size,
)
from mapdrop.localize.errors import LocalizeError
from mapdrop.study import options as o
from mapdrop.system.printable import plain, stop
from mapdrop.tools.errors import user_errors

if TYPE_CHECKING:
    from mapdrop.localize.data import KeypointData
    from mapdrop.study.study import Executor


class _Group(TyperGroup):
    """Insert the command "run" unless another one is named: `mapdrop study DATA` runs a study."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app: typer.Typer = typer.Typer(
    cls=_Group, help="Which dropout does this task want, and what does it cost?"
)


@app.command(epilog="mapdrop study report RUN writes the report of a study again, also as HTML.")
def run(
    data: o.Data = "scenes",
    drops: o.Drops = "none,element,spatial,block",
    rates: o.Rates = None,
    seeds: o.Seeds = 3,
    out: o.Out = None,
    jobs: o.Jobs = None,
    ray: o.Ray = None,
    retry: o.Retry = False,
    train_size: o.TrainSize = None,
    validation_size: o.ValidationSize = None,
    test_size: o.TestSize = None,
    bodyparts: o.Bodyparts = None,
    size: o.Size = None,
    data_seed: o.DataSeed = 0,
    coordinates: o.Coordinates = None,
    skip_missing: o.SkipMissing = False,
    width: o.Width = 16,
    banks: o.Banks = 2,
    block_size: o.BlockSize = 5,
    steps: o.Steps = 300,
    batch: o.Batch = 8,
    learning_rate: o.LearningRate = 2e-3,
    shift: o.Shift = 8,
) -> None:
    """Which dropout does this task want, and what does it cost?

    Trains the coarse heat-map network of Tompson et al. (CVPR 2015) with each
    dropout, from the same initial weights and on the same data. Validation
    images choose each dropout's rate; results are those of the test images.
    Writes a report (text, HTML, a plot) and one row for each run. After an
    interruption, the same command with the same --out continues.
    """
    with user_errors(others=(LocalizeError, OSError)):
        from rich.console import Console

        from mapdrop.localize.augment import Augment
        from mapdrop.localize.data import LoadOptions, load
        from mapdrop.localize.run.folder import new_folder
        from mapdrop.localize.train import Recipe
        from mapdrop.study.cluster import check_reachable
        from mapdrop.study.grid import conditions, grid
        from mapdrop.study.html_report import write_report
        from mapdrop.study.runner import Settings
        from mapdrop.study.study import Study

        sizes = parse_counts(train_size, "--train-size") if train_size else None
        options = LoadOptions(
            train_size=max(sizes) if sizes else None,
            validation_size=validation_size,
            test_size=test_size,
            bodyparts=parse_names(bodyparts) if bodyparts is not None else None,
            size=parse_size(size, "--size") if size else None,
            seed=data_seed,
            coordinates=coordinates,
            skip_missing=skip_missing,
        )
        if ray is not None:
            o.check_ray_address(ray)
        try:
            chosen = conditions(
                parse_names(drops), parse_numbers(rates, "--rates") if rates else None, block_size
            )
            recipe = Recipe(
                steps=steps, batch=batch, learning_rate=learning_rate, augment=Augment(shift=shift)
            )
            grid(chosen, sizes or [1], seeds)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        with _stopped():
            if ray is not None:
                check_reachable(ray)
            console, settings = Console(), Settings(width, banks, recipe)
            with console.status("reading the labels") as status:
                loaded = load(
                    data,
                    options,
                    lambda task, done, total: status.update(plain(f"{task} {done}/{total}")),
                )
            say_left_out(console, loaded.left_out)
            cells = grid(chosen, sizes or [len(set(loaded.groups[loaded.train]))], seeds)
            folder = out or new_folder(Path("mapdrop-study"), loaded.name)
            executor = _executor(loaded, jobs, ray)
            rows = Study(loaded, cells, settings, folder, executor, retry).execute(console)
            write_report(folder, rows, console)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a study.", show_default=False)],
) -> None:
    """Print the report of a study, finished or not, and write it to its folder, also as HTML."""
    with user_errors(others=(LocalizeError, OSError)):
        from rich.console import Console

        from mapdrop.study.html_report import write_report
        from mapdrop.study.rows import NAME, read_rows

        if not (run / NAME).exists():
            stop(f"{run} holds no study: there is no {NAME}")
        write_report(run, read_rows(run / NAME), Console())


@contextmanager
def _stopped() -> Iterator[None]:
    """End the command where the user stops it, or memory runs out."""
    try:
        yield
    except KeyboardInterrupt:
        stop("stopped; to continue, use the same command with the same --out", 130)
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # So PyTorch says it.
            raise
        stop("there is not enough memory; choose a smaller --width, --size or --batch")


def _executor(data: KeypointData, jobs: int | None, ray: str | None) -> Executor:
    if ray is not None:
        from mapdrop.study.cluster import ray_tasks

        return lambda cells, settings: ray_tasks(cells, data, settings, ray)
    from mapdrop.study.workers import processes
    from mapdrop.system.cores import usable_cores

    return lambda cells, settings: processes(cells, data, settings, jobs or usable_cores())

"""`mapdrop study`: the command line of a study. Nothing heavy is imported until it runs."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import typer

from mapdrop.study import options as o


def study(
    data: o.Data = "scenes",
    drops: o.Drops = "none,element,spatial,block",
    rates: o.Rates = None,
    seeds: o.Seeds = 3,
    out: o.Out = None,
    train_size: o.TrainSize = None,
    test_size: o.TestSize = None,
    bodyparts: o.Bodyparts = None,
    size: o.Size = None,
    data_seed: o.DataSeed = 0,
    width: o.Width = 16,
    banks: o.Banks = 2,
    block_size: o.BlockSize = 5,
    steps: o.Steps = 300,
    batch: o.Batch = 8,
    learning_rate: o.LearningRate = 2e-3,
    shift: o.Shift = 8,
) -> None:
    """Which dropout does this task want, and what does it cost?

    Trains the coarse heat-map network of Tompson et al. (CVPR 2015) with each dropout, from the
    same start and on the same data, and reports what was measured, whichever wins. Leaves a
    picture, the report and one row for each run (JSON lines).
    """
    try:
        from rich.console import Console

        from mapdrop.localize.augment import Augment
        from mapdrop.localize.data import DataError, Request, load
        from mapdrop.localize.train import Recipe, TrainingDivergedError
        from mapdrop.study.grid import conditions
        from mapdrop.study.rows import OutputExistsError, fresh_folder
        from mapdrop.study.runner import Settings
        from mapdrop.study.study import perform
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mapdrop"):
            raise
        _stop(f'{error.name} is not installed: pip install "mapdrop[study]"', 1)
    request = Request(
        train_size=train_size,
        test_size=test_size,
        bodyparts=o.words(bodyparts) if bodyparts is not None else None,
        size=o.pixels(size, "--size") if size else None,
        seed=data_seed,
    )
    try:
        chosen = conditions(
            o.words(drops), o.numbers(rates, "--rates") if rates else None, block_size
        )
        recipe = Recipe(
            steps=steps, batch=batch, learning_rate=learning_rate, augment=Augment(shift=shift)
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        console = Console()
        with console.status("reading the labels") as status:
            loaded = load(
                data, request, lambda what, done, of: status.update(f"{what} {done}/{of}")
            )
        folder = out or fresh_folder(Path("mapdrop-study"), loaded.name)
        perform(loaded, chosen, seeds, Settings(width, banks, recipe), folder, console)
    except OutputExistsError as error:
        _stop(str(error), 2)
    except (DataError, TrainingDivergedError, OSError) as error:
        _stop(str(error), 1)


def _stop(message: str, code: int) -> NoReturn:
    """Ends the command with a message instead of a traceback."""
    typer.secho(f"error: {message}", err=True, fg="red")
    raise typer.Exit(code)

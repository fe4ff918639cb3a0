"""`mapdrop localize predict`: find the joints in new images and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mapdrop.localize.command import options as o
from mapdrop.localize.command.output import say
from mapdrop.localize.errors import LocalizeError
from mapdrop.system.printable import printable
from mapdrop.tools.errors import user_errors

if TYPE_CHECKING:
    from rich.console import Console

    from mapdrop.localize.predictor import Predictor
    from mapdrop.localize.results import ResultFolder
    from mapdrop.localize.run.trained import TrainedModel


def predict(
    run: o.Run,
    images: Annotated[
        list[Path],
        typer.Argument(help="Images, stacks, videos, folders of them.", show_default=False),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. Default: RUN/predictions.")
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Also draw the joints on every image.")] = True,
    threshold: Annotated[
        float, typer.Option(help="Less likely joints are drawn as rings.", min=0, max=1)
    ] = 0.3,
    uncertainty: Annotated[
        int | None,
        typer.Option(
            help="Also find each joint's spread in pixels, over so many passes with dropout.",
            min=2,
            show_default=False,
        ),
    ] = None,
    device: o.Device = None,
    overwrite: o.Overwrite = False,
) -> None:
    r"""Find the joints in new images.

    Writes a table like DeepLabCut's: x, y and likelihood of each joint, in the
    pixels of the image; and the images with the joints drawn on them.
    Results are named after the images; --overwrite allows replacing files.
    With --uncertainty also spread.csv: how far each joint lies from its mean over
    passes with dropout, and a circle of that radius on the images.
    A video or a stack of pages (TIFF, GIF) has a table with a row for each frame.
    Files and frames that cannot be read are skipped and listed at the end.
    Videos need: pip install "mapdrop\[video]"
    """
    with user_errors(others=(LocalizeError, OSError)):
        from mapdrop.localize.results import ResultFolder
        from mapdrop.localize.run.process_group import process_group
        from mapdrop.localize.run.trained import TrainedModel

        with process_group(device) as group:
            trained = TrainedModel.load(run, group.device)
            results = ResultFolder.of(run, "predictions", out, overwrite)
            _predict(trained, images, results, threshold if overlay else None, uncertainty or 0)


def _predict(
    trained: TrainedModel,
    images: list[Path],
    results: ResultFolder,
    threshold: float | None,
    passes: int,
) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from mapdrop.localize.predictor import Predictor
    from mapdrop.localize.sources import Sources

    sources = Sources.of(images)
    results.check_names(sources.output_names(threshold is not None, passes > 0), sources.paths)
    console = Console()
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        predictor = Predictor(trained, results, threshold, progress, passes)
        try:
            predictor(sources)
        except KeyboardInterrupt:
            predictor.failures.told.append("stopped; the tables have the joints found until then")
        finally:
            _summarise(predictor, console)
    predictor.failures.check(sources)


def _summarise(predictor: Predictor, console: Console) -> None:
    for table in predictor.tables:
        say(console, f"found: {printable(table)}")
    if predictor.threshold is not None:
        say(console, f"overlays: {printable(predictor.results.folder)}")

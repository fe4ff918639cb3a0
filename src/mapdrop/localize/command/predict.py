"""`mapdrop localize predict`: where the joints are in new images and videos."""

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

    from mapdrop.localize.finding import Finder
    from mapdrop.localize.results import Results
    from mapdrop.localize.run.trained import Trained


def predict(
    run: o.Run,
    images: Annotated[
        list[Path],
        typer.Argument(help="Pictures, folders of pictures, videos.", show_default=False),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. Default: RUN/predictions.")
    ] = None,
    overlay: Annotated[
        bool, typer.Option(help="Also draw what was found on every picture.")
    ] = True,
    threshold: Annotated[
        float, typer.Option(help="Less likely joints are drawn as rings.", min=0, max=1)
    ] = 0.3,
    device: o.Device = None,
    overwrite: o.Overwrite = False,
) -> None:
    r"""Find the joints in new images.

    Writes a table as DeepLabCut's: x, y and likelihood of each joint, in the
    pixels of the picture; and the pictures with the joints drawn on them.
    Results are named after the images, and replace nothing unless asked to.
    What was found is kept, whatever cannot be read; the errors come at the end.
    Videos need: pip install "mapdrop\[video]"
    """
    with user_errors(others=(LocalizeError, OSError)):
        from mapdrop.localize.results import Results
        from mapdrop.localize.run.team import team
        from mapdrop.localize.run.trained import Trained

        with team(device) as mine:
            trained = Trained.of(run, mine.device)
            results = Results.of(run, "predictions", out, overwrite)
            _predict(trained, images, results, threshold if overlay else None)


def _predict(
    trained: Trained, images: list[Path], results: Results, threshold: float | None
) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from mapdrop.localize.data import ImagesError
    from mapdrop.localize.finding import Finder
    from mapdrop.localize.sources import Sources

    sources = Sources.of(images)
    results.claim(sources.results(threshold is not None), (*sources.pictures, *sources.videos))
    console = Console()
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        finder = Finder(trained, results, threshold, progress)
        try:
            finder(sources)
        except KeyboardInterrupt:
            finder.failures.append("stopped; the tables have what was found until then")
        finally:
            _summarise(finder, console)
    if finder.failures:
        raise ImagesError(finder.failures, len(sources.pictures) + len(sources.videos))


def _summarise(finder: Finder, console: Console) -> None:
    for table in finder.tables:
        say(console, f"found: {printable(table)}")
    if finder.threshold is not None:
        say(console, f"overlays: {printable(finder.results.folder)}")

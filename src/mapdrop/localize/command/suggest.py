"""`mapdrop localize suggest`: which images and frames to label next."""

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

    from mapdrop.localize.failures import Failures
    from mapdrop.localize.results import ResultFolder
    from mapdrop.localize.run.trained import TrainedModel
    from mapdrop.localize.sources import Sources
    from mapdrop.localize.suggestion import Candidate


def suggest(
    run: o.Run,
    images: Annotated[
        list[Path],
        typer.Argument(help="Images, stacks, videos, folders of them.", show_default=False),
    ],
    count: Annotated[int, typer.Option(help="Images to suggest.", min=1)] = 20,
    passes: Annotated[
        int, typer.Option(help="Passes with dropout, by which joints are uncertain.", min=2)
    ] = 20,
    candidates: Annotated[
        int, typer.Option(help="Frames of a video to look at, evenly spaced.", min=1)
    ] = 500,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. Default: RUN/suggestions.")
    ] = None,
    device: o.Device = None,
    overwrite: o.Overwrite = False,
) -> None:
    r"""Suggest which images to label next: uncertain, and unlike each other.

    Writes them to labeled-data/VIDEO/img0123.png, as DeepLabCut names frames,
    with a list (suggestions.csv) and a contact sheet. Images that were used in
    training are recognised by their content and left out.
    Files and frames that cannot be read are skipped and listed at the end.
    Videos need: pip install "mapdrop\[video]"
    """
    with user_errors(others=(LocalizeError, OSError)):
        from rich.console import Console

        from mapdrop.localize.failures import Failures
        from mapdrop.localize.results import ResultFolder
        from mapdrop.localize.run.process_group import process_group
        from mapdrop.localize.run.trained import TrainedModel
        from mapdrop.localize.sources import Sources

        console = Console()
        with process_group(device) as group:
            trained = TrainedModel.load(run, group.device)
            results = ResultFolder.of(run, "suggestions", out, overwrite)
            sources, failures = Sources.of(images), Failures()
            chosen, seen = _choose(trained, sources, count, passes, candidates, failures, console)
            _write(chosen, sources, results, failures, console)
        if len(chosen) < count:
            say(console, f"there are no more than {len(chosen)} that are not labelled yet")
        if seen:
            say(console, f"{seen} left out that were used in training")
        failures.check(sources)


def _choose(
    trained: TrainedModel,
    sources: Sources,
    count: int,
    passes: int,
    candidates: int,
    failures: Failures,
    console: Console,
) -> tuple[list[Candidate], int]:
    """Return what to label, and how many images were left out."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from mapdrop.localize.data import DataError
    from mapdrop.localize.suggestion import Search, choose

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("images", total=None)
        looked = 0

        def on_image() -> None:
            nonlocal looked
            looked += 1
            progress.advance(task)

        search = Search(trained, passes, candidates, on_image, failures)
        progress.update(task, total=search.total(sources))
        found: list[Candidate] = []
        try:
            for candidate in search(sources):
                found.append(candidate)  # What is found stays after Ctrl-C.
        except KeyboardInterrupt:
            failures.told.append("stopped; the suggestions are from what was looked at until then")
    if not found:
        failures.check(sources)
        raise DataError("all images were used in training; give others")
    return choose(found, count), looked - len(found)


def _write(
    chosen: list[Candidate],
    sources: Sources,
    results: ResultFolder,
    failures: Failures,
    console: Console,
) -> None:
    from mapdrop.localize.suggestion.files import write
    from mapdrop.localize.suggestion.names import SuggestionNames

    write(chosen, SuggestionNames.of(sources), results, failures)
    say(console, f"suggested: {printable(results.folder / 'suggestions.csv')}")
    say(console, f"contact sheet: {printable(results.folder / 'suggestions.png')}")
    say(console, f"images: {printable(results.folder / 'labeled-data')}")

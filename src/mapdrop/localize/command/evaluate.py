"""`mapdrop localize evaluate`: how good a network is on images that it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mapdrop.localize.command import options as o
from mapdrop.localize.command.output import say, show
from mapdrop.localize.command.texts import words
from mapdrop.localize.errors import LocalizeError
from mapdrop.system.printable import plain
from mapdrop.tools.errors import user_errors

if TYPE_CHECKING:
    from rich.table import Table

    from mapdrop.localize.evaluation import Evaluation


def evaluate(
    run: o.Run,
    data: o.Data,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. Default: RUN/evaluation.")
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(help="Two joints, for PCK by their distance: leftshoulder,righthip."),
    ] = None,
    device: o.Device = None,
    overwrite: o.Overwrite = False,
) -> None:
    """Measure a trained network on labelled images that it has never seen.

    Images that trained or validated it are known again by what they show, and
    left out.
    """
    with user_errors(others=(LocalizeError, OSError)):
        from rich.console import Console

        from mapdrop.localize.evaluation import NAMES, Evaluation, unseen
        from mapdrop.localize.results import Results
        from mapdrop.localize.run.pictures import to_test
        from mapdrop.localize.run.team import team
        from mapdrop.localize.run.trained import Trained

        console, results = Console(), Results.of(run, "evaluation", out, overwrite)
        with team(device) as mine, console.status("reading the run") as status:
            trained = Trained.of(run, mine.device)
            pair = _pair(normalise, trained.joints)
            found = to_test(
                data,
                trained.joints,
                trained.size,
                lambda what, done, of: status.update(f"{what} {done}/{of}"),
            )
            pictures = unseen(trained, found)
            results.claim(NAMES, map(Path, (data, *pictures.owners)))
            status.update(f"looking at {len(pictures)} images")
            evaluation = Evaluation.of(trained, pictures, pair)
            evaluation.write(results)
        show(console, _table(evaluation))
        left_out = len(found) - len(pictures)
        say(
            console,
            f"{len(pictures)} images never trained on; {left_out} left out that were\n"
            f"figures: {results.folder / 'metrics.json'}\n"
            f"picture: {results.folder / 'evaluation.png'}",
        )


def _pair(text: str | None, joints: tuple[str, ...]) -> tuple[str, str] | None:
    if text is None:
        return None
    names = words(text)
    if len(names) != 2 or names[0] == names[1] or not set(names) <= set(joints):
        raise typer.BadParameter(
            f"expected two of {', '.join(joints)}, got {text!r}", param_hint="--normalise"
        )
    return names[0], names[1]


def _table(evaluation: Evaluation) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    figures, pictures = evaluation.figures(), evaluation.pictures
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        title=plain(f"{pictures.name}, {len(pictures)} images"),
        caption=plain(f"pck, auc: percent; px: {pictures.unit}"),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("joint")
    for name in figures:
        table.add_column(plain(name.replace(" ", "\n", 1)), justify="right", no_wrap=True)
    for joint in (*evaluation.found.joints, "total"):
        cells = (
            f"{value[joint]:.1f}" if "error" in name else f"{100 * value[joint]:.1f}"
            for name, value in figures.items()
        )
        table.add_row(plain(joint), *cells)
    return table

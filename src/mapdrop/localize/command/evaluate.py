"""`mapdrop localize evaluate`: measure a network on images that it was not trained on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mapdrop.localize.command import options as o
from mapdrop.localize.command.output import say, say_left_out, show
from mapdrop.localize.command.parsing import parse_names
from mapdrop.localize.errors import LocalizeError
from mapdrop.system.printable import count, plain, printable
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
    coordinates: o.Coordinates = None,
    skip_missing: o.SkipMissing = False,
    device: o.Device = None,
    overwrite: o.Overwrite = False,
) -> None:
    """Measure a trained network on labelled images that it has never seen.

    Images that were used to train or validate it are recognised by their
    content and left out.
    """
    with user_errors(others=(LocalizeError, OSError)):
        from rich.console import Console

        from mapdrop.localize.evaluation import Evaluation, unseen
        from mapdrop.localize.evaluation.files import METRICS, NAMES, PLOT, SHEET, write
        from mapdrop.localize.results import ResultFolder
        from mapdrop.localize.run.images import load_test
        from mapdrop.localize.run.process_group import process_group
        from mapdrop.localize.run.trained import TrainedModel

        console, results = Console(), ResultFolder.of(run, "evaluation", out, overwrite)
        with process_group(device) as group, console.status("reading the run") as status:
            trained = TrainedModel.load(run, group.device)
            pair = _parse_pair(normalise, trained.joints)
            every = load_test(
                data,
                trained.joints,
                trained.size,
                lambda task, done, total: status.update(f"{task} {done}/{total}"),
                coordinates,
                skip_missing,
            )
            labelled = unseen(trained, every)
            results.check_names(NAMES, map(Path, (data, *labelled.image_names)))
            status.update(f"finding joints in {len(labelled)} images")
            evaluation = Evaluation.of(trained, labelled, pair)
            write(evaluation, results)
        show(console, _table(evaluation))
        say_left_out(console, every.left_out)
        images, seen = count(len(labelled), "image"), len(every) - len(labelled)
        say(
            console,
            "\n".join(
                [
                    f"{images} never trained on; {seen} left out that were",
                    *map(printable, evaluation.remarks()),
                    labelled.limits,
                    f"metrics: {results.folder / METRICS}",
                    f"plot: {results.folder / PLOT}",
                    f"worst predictions: {results.folder / SHEET}",
                ]
            ),
        )


def _parse_pair(text: str | None, joints: tuple[str, ...]) -> tuple[str, str] | None:
    if text is None:
        return None
    names = parse_names(text)
    if len(names) != 2 or names[0] == names[1] or not set(names) <= set(joints):
        raise typer.BadParameter(
            f"expected two of {', '.join(joints)}, got {text!r}", param_hint="--normalise"
        )
    return names[0], names[1]


def _table(evaluation: Evaluation) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    metrics, labelled = evaluation.metric_table(), evaluation.labelled
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        title=plain(f"{labelled.name}, {count(len(labelled), 'image')}"),
        caption=plain(
            f"pck, auc: percent; px: {labelled.unit}; p90: 90 % are within; hardest joints first"
        ),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("joint")
    for name in ("labels", *metrics):
        table.add_column(plain(name.replace(" ", "\n", 1)), justify="right", no_wrap=True)
    table.add_column("worst image", no_wrap=True)
    for row in evaluation.ranking():
        cells = (_cell(name, row[name]) for name in metrics)
        worst = plain(Path(row["worst image"] or "-").name)
        table.add_row(plain(row["joint"]), str(row["labels"]), *cells, worst)
    total = (_cell(name, values["total"]) for name, values in metrics.items())
    table.add_row("total", str(evaluation.errors.labels.sum()), *total)
    return table


def _cell(metric: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1f}" if "error" in metric else f"{100 * value:.1f}"

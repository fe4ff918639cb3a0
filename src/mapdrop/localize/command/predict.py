"""`mapdrop localize predict`: where the joints are in new images and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mapdrop.localize.command import options as o
from mapdrop.localize.command.told import told

if TYPE_CHECKING:
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
) -> None:
    r"""Find the joints in new images.

    Writes a table as DeepLabCut's: x, y and likelihood of each joint, in the
    pixels of the picture; and the pictures with the joints drawn on them.
    Videos need: pip install "mapdrop\[video]"
    """
    with told():
        from mapdrop.localize.run.team import team
        from mapdrop.localize.run.trained import Trained

        with team(device) as mine:
            trained = Trained.of(run, mine.device)
            _predict(trained, images, out or run / "predictions", threshold if overlay else None)


def _predict(trained: Trained, images: list[Path], out: Path, threshold: float | None) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from mapdrop.localize.finding import Finder, sources

    console = Console()
    pictures, videos = sources(images)
    with Progress(console=console, transient=True) as progress:
        finder = Finder(trained, out, threshold, progress)
        written = [finder.pictures(pictures)] if pictures else []
        written += [finder.video(video) for video in videos]
    for table in written:
        console.print(f"found: {table}", highlight=False, markup=False, soft_wrap=True)
    if threshold is not None:
        console.print(f"overlays: {out}", highlight=False, markup=False, soft_wrap=True)

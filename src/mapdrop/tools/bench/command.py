"""`mapdrop bench`: is it faster than what I use, on this machine?"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Annotated

import typer

from mapdrop.system.printable import stop
from mapdrop.tools.errors import user_errors
from mapdrop.tools.installed import NAMES, selected


def bench(
    only: Annotated[str, typer.Option(help=f"Time these alone: {NAMES}.")] = "",
    full: Annotated[
        bool, typer.Option("--full", help="Every shape, operation and direction: ten minutes.")
    ] = False,
    word: Annotated[
        str, typer.Option("--case", help="Only cases with this in their name, as 'spatial, unet'.")
    ] = "",
    seconds: Annotated[
        float | None, typer.Option(min=0.01, help="For each case; 1.5, or 3 with --full.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Append the rows to this file, an object of JSON a line.")
    ] = None,
    shapes: Annotated[
        bool, typer.Option("--shapes", help="List the shapes and the networks they are from.")
    ] = False,
) -> None:
    """Time dropout here against each framework's own, in about two minutes.

    Every framework that is found runs in a process of its own: forward, with
    the gradient, the memory it takes, and what bounds it (a copy, or the
    arithmetic). Works are interleaved, so that whatever else the machine does
    hits them alike.

    Exit code 1 where a case failed; a framework that is not installed is none.
    """
    with user_errors(arguments=(ValueError,)):
        # Here, because not everybody has rich.
        from rich.console import Console

        from mapdrop.tools.bench.report import list_shapes, show
        from mapdrop.tools.bench.run import perform

        names = selected(only)
        if seconds is not None and not math.isfinite(seconds):
            raise ValueError(f"--seconds {seconds} is not a time: a number from 0.01 on")
        if out is not None:
            _check_out(out)
    if shapes:
        list_shapes(Console())
        return
    lost: list[OSError] = []

    def keep(row: dict[str, object]) -> None:
        if out is not None and not lost:
            try:
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            except OSError as problem:  # What was measured is shown all the same.
                lost.append(problem)

    # Any case may be named, also one that only --full times.
    outcome = perform(names, not full and not word, word, seconds, keep)
    if not outcome.rows and not outcome.failed:
        stop(f"no case here has {word!r} in its name: see --shapes", 2)
    show(outcome, Console())
    if lost:
        stop(f"--out {out} lacks rows: {lost[0].strerror}")
    raise typer.Exit(1 if outcome.failed else 0)


def _check_out(out: Path) -> None:
    """Make the file, or end its last line. Raises ValueError where nothing can be written to it."""
    if not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    try:
        with out.open("a+b") as file:
            if file.seekable() and file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")
    except OSError as problem:
        raise ValueError(f"--out {out} cannot be written: {problem.strerror}") from problem

"""`mapdrop check`: are masks bit-identical in every framework and on every device found here?"""

from __future__ import annotations

from typing import Annotated

import typer

from mapdrop.tools.errors import user_errors
from mapdrop.tools.installed import NAMES, selected


def check(
    only: Annotated[str, typer.Option(help=f"Check these alone: {NAMES}.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="One mask of each kind, instead of every vector.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare every framework and device found here, bit for bit, eager and compiled.

    Drops the masks of the specification's vectors, and float32, float16 and
    bfloat16 values in several layouts: each result must have the very bits of
    the specification. Compiled modes drop one mask of each kind.

    Exit code 1 where anything differs or breaks; a framework that is not
    installed is no failure. With everything installed it takes minutes.
    """
    with user_errors(arguments=(ValueError,)):
        # Here, because not everybody has rich.
        from mapdrop.tools.check.report import document, show
        from mapdrop.tools.check.run import perform

        names = selected(only)
    outcome = perform(names, quick)
    if as_json:
        typer.echo(document(outcome))
    else:
        show(outcome)
    raise typer.Exit(0 if outcome.ok else 1)

"""`mapdrop audit`: which dropout stands where in a model, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import Annotated

import typer

from mapdrop.system.printable import printable_lines, stop
from mapdrop.tools.errors import user_errors


def audit(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FUNCTION",
            help="A function that returns a model and its inputs: model, x, ... "
            "The last one may be a dict of keyword arguments.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the dropout of a PyTorch model, and what is wrong with it.

    Runs a copy of the model in training and in eval mode, watches every
    operation, and draws each mask again to see what it drops in truth. The
    inputs are a small batch, of two samples or more.

    Exit code 1 where there are findings, 2 where the audit is not possible;
    notes are no findings.
    """
    with user_errors(arguments=(ValueError,)):
        # Here, because PyTorch takes a second, and not everybody has it.
        import mapdrop.torch
        from mapdrop.tools.audit.load import LoadError, load, told

        try:
            with redirect_stdout(sys.stderr):  # What the user's code prints is no part of ours.
                case = load(target)
        except LoadError as problem:
            stop(problem, 2)
    try:
        with redirect_stdout(sys.stderr):
            found = mapdrop.torch.audit(case.model, *case.inputs, **case.kwargs)
    except (Exception, SystemExit) as problem:  # Of the model's code, which may raise anything.
        stop(f"the model of {target} raises {told(problem)}", 2)
    typer.echo(json.dumps(asdict(found), indent=2) if as_json else printable_lines(found))
    raise typer.Exit(1 if found.findings else 0)

"""`mapdrop localize` and its commands. Heavy imports wait until a command runs."""

from __future__ import annotations

from mapdrop.system.extras import require as _require

_require(__name__, "study", "typer")

import typer

from mapdrop.localize.command.evaluate import evaluate
from mapdrop.localize.command.predict import predict
from mapdrop.localize.command.suggest import suggest
from mapdrop.localize.command.train import train

app: typer.Typer = typer.Typer(
    help="Find joints, key points or landmarks in your own images, having labelled a few.",
    no_args_is_help=True,
)
app.command()(train)
app.command()(evaluate)
app.command()(predict)
app.command()(suggest)

"""The `mapdrop` command."""

from __future__ import annotations

from mapdrop.system.extras import remedy

try:
    import typer
except ModuleNotFoundError as _lacks:
    raise SystemExit(f"The mapdrop command needs its extra: {remedy('study')}") from _lacks

from mapdrop.localize.command import app as localize
from mapdrop.study.command import app as study
from mapdrop.system.streams import any_code_page, ending
from mapdrop.tools.audit.command import audit
from mapdrop.tools.bench.command import bench
from mapdrop.tools.check.command import check
from mapdrop.tools.explain.command import explain

app: typer.Typer = typer.Typer(
    help="Drops whole feature maps, and every other structured kind of dropout.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(study, name="study")
app.command()(explain)
app.command()(check)
app.command()(bench)
app.command()(audit)
app.add_typer(localize, name="localize")


def main() -> None:
    """Run the console script."""
    any_code_page()
    with ending():
        app()

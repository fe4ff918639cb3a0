"""Print what a training will do, before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapdrop.localize.command.output import say, say_left_out, show
from mapdrop.system.printable import plain

if TYPE_CHECKING:
    from rich.console import Console

    from mapdrop.localize.run.plan import Plan

UNITS = (("hours", 3600), ("minutes", 60), ("seconds", 1))


def show_plan(console: Console, plan: Plan) -> None:
    """Print a plan: a table of the joints, and a line for everything else."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    say(console, f"{plan.network}\n{plan.sizes}")
    table = Table("joint", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("training", "validation", "missing"):
        table.add_column(name, justify="right")
    for joint in plan.joints:
        share = f"{100 * joint.missing:.0f} %"
        table.add_row(plain(joint.name), str(joint.train), str(joint.validation), share)
    show(console, table)
    say(console, f"{plan.mirroring}\n{plan.limits}")
    say_left_out(console, plan.left_out)
    say(console, f"{plan.steps} steps, which take about {duration(plan.seconds)} here")


def duration(seconds: float) -> str:
    """Return a length of time in two digits or so: "40 seconds", "3.5 minutes", "12 hours"."""
    name, unit = next((u for u in UNITS if seconds >= 1.5 * u[1]), UNITS[-1])
    value = seconds / unit
    return f"{value:.0f} {name}" if value >= 10 or unit == 1 else f"{value:.1f} {name}"

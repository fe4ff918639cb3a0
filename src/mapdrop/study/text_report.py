"""Report a study as text: tables, differences, the verdict and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mapdrop.study.bootstrap import difference
from mapdrop.study.conditions import Condition
from mapdrop.study.rows import Row
from mapdrop.study.summary import Estimate, estimate, failures, pck_at, timings
from mapdrop.study.verdict import (
    Findings,
    describe_difference,
    findings,
    format_interval,
    limits,
    verdict,
)
from mapdrop.system.printable import count, plain

COLUMNS = ("test %\n≤ {0:g} px", "test %\n≤ {1:g} px", "train %\n≤ {0:g} px", "train %\n≤ {1:g} px")


def print_report(console: Console, rows: Sequence[Row]) -> None:
    """Print the report of a study; `rows` are all its rows, the first of kind "study"."""

    def show(line: str = "", style: str | None = None) -> None:
        console.print(plain(line), highlight=False, style=style)

    for found in findings(rows):
        console.print(table(rows, found))
        for line in (*differences(rows, found), *savings(rows, found)):
            show(line)
        show()
    small, large = rows[0]["data"]["radii"]
    guess = rows[0]["guess"]
    without = (f"{100 * guess['pck'][f'{r:g}']:.1f} %" for r in (small, large))
    show(
        f"Without looking (each joint's mean place in training): {' and '.join(without)}, "
        f"{guess['mean_error']:.1f} px."
    )
    for cell, error in failures(rows).items():
        show(f"failed: {cell.condition.label}, {cell.train_size} images, seed {cell.seed}: {error}")
    show()
    show(verdict(rows), "bold")
    show()
    show("What this cannot tell:", "bold")
    for line in limits(rows):
        show(f"- {line}")


def cells(rows: Sequence[Row], found: Findings, condition: Condition) -> list[str]:
    """Format a condition's results: PCK of test and train at both radii, error, time, memory."""
    of = found.runs[condition]
    shares = [
        estimate(of, partial(pck_at, part=part, radius=radius))
        for part in ("test", "train")
        for radius in rows[0]["data"]["radii"]
    ]
    error = estimate(of, lambda row: float(row["metrics"]["test"]["mean_error"]))
    timing = timings(rows)[condition]
    values = [_format(value) for value in (*shares, error)]
    return [*values, f"{timing['ratio']:.2f}", f"{timing['peak_mb']:.0f}"]


def headers(rows: Sequence[Row]) -> list[str]:
    """Return the headers of the columns of `cells`."""
    columns = [column.format(*rows[0]["data"]["radii"]) for column in COLUMNS]
    return [*columns, "test\nerror px", "step\n× none", "step\nMB"]


def table(rows: Sequence[Row], found: Findings) -> Table:
    """Return a table with one line for each condition."""
    name, images = rows[0]["data"]["name"], count(found.train_size, "training image")
    shown = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,  # The box has a space between columns; 80 characters allow no more.
        title=plain(f"Which dropout for {name}? {images}"),
        caption=plain(caption(rows, found)),
        title_justify="left",
        caption_justify="left",
    )
    # On a narrow terminal names are wrapped, so that every number fits.
    shown.add_column("dropout")
    for header in headers(rows):
        shown.add_column(header, justify="right", no_wrap=True)
    for condition in found.runs:
        shown.add_row(label(found, condition), *cells(rows, found, condition))
    return shown


def label(found: Findings, condition: Condition) -> str:
    """Return the condition's name, with a star if validation chose its rate among others."""
    alone = [c.drop for c in found.runs].count(condition.drop) == 1
    return condition.label + " *" * (condition in found.best and not alone)


def caption(rows: Sequence[Row], found: Findings) -> str:
    """Explain the table's numbers."""
    several = len(found.best) < len(found.runs)
    return (
        f"mean ± standard deviation over {count(found.seeds, 'seed')}; "
        f"px: {rows[0]['data']['unit']}; step: time and memory of a training step{_terms(found)}"
        + "; *: the rate that is best on validation"
        * several
    )


def differences(rows: Sequence[Row], found: Findings) -> list[str]:
    """Compare each dropout, at its chosen rate, with the first one."""
    if not found.differences:
        return []
    radius = rows[0]["data"]["radii"][0]
    longest = max(len(condition.label) for condition in found.differences)
    lines = [
        f"Against {found.base.label}, points of test joints within {radius:g} px "
        "(bootstrap over seeds and images):"
    ]
    for condition, interval in found.differences.items():
        lines.append(
            f"  {condition.label:<{longest}}  {interval.value:+5.1f}  {format_interval(interval)}; "
            f"{describe_difference(interval)}"
        )
    return lines


def savings(rows: Sequence[Row], found: Findings) -> list[str]:
    """Compare the step times of compact and plain conditions that have the same masks."""
    costs = timings(rows)
    steps = rows[0]["settings"]["recipe"]["steps"]
    radius = rows[0]["data"]["radii"][0]
    lines = []
    for condition, of in found.runs.items():
        plain = condition.plain
        if plain != condition and plain in found.runs:
            interval = difference(of, found.runs[plain], radius)
            lines.append(
                f"{condition.label} is {plain.label} with steps that take "
                f"{costs[condition]['ratio'] / costs[plain]['ratio']:.2f} of the time; accuracy "
                f"differs by what {count(steps, 'step')} make of rounding: {interval.value:+.1f}."
            )
    return lines


def _format(value: Estimate) -> str:
    mean = f"{value.mean:.1f}"
    return mean if value.spread is None else f"{mean} ±{value.spread:.1f}"


def _terms(found: Findings) -> str:
    """Explain the terms in the names of the conditions that ran."""
    sides = {f"{condition.block_size}x{condition.block_size}" for condition in found.runs}
    terms = {
        "block": f"{' or '.join(sorted(sides))} pixels of a map",
        "share": "so many samples have one mask",
        "balanced": "a batch's masks drop every map equally often, give or take one",
        "compact": "dropped maps are not computed",
    }
    used = [term for term in terms if any(term in condition.drop for condition in found.runs)]
    return "".join(f"; {term}: {terms[term]}" for term in used)

"""Show rows as tables with bars, in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapdrop.backends.registry import FRAMEWORKS
from mapdrop.tools.bench.case import BOTH, FORWARD, OURS, STEP
from mapdrop.tools.bench.measure import Row
from mapdrop.tools.bench.run import Outcome
from mapdrop.tools.bench.shapes import SHAPES

_WIDTH = 10  # Of a bar, whose middle is as long as the other takes.
_EIGHTHS = " ▏▎▍▌▋▊▉"
_PASSES = {FORWARD: "fwd", BOTH: "fwd+bwd", STEP: "step"}
PACKAGES = tuple(p for name, framework in FRAMEWORKS.items() for p in (name, *framework.layers))
"""Those that are named below a table, where they took part."""


def show(outcome: Outcome, console: Console) -> None:
    """Print everything, a table for each framework and array."""
    for heading, rows in groupby(outcome.rows, _heading):
        console.print(heading, style="bold", markup=False, highlight=False)
        console.print(_table(list(rows)))
        console.print()
    for sentence in _sentences(outcome.rows):
        console.print(sentence, highlight=False)
    for missing in outcome.missing:
        console.print(f"{missing.title}: {missing.reason}", style="dim", markup=False)
    for failed in outcome.failed:
        console.print(failed, style="red", markup=False)


def list_shapes(console: Console) -> None:
    """Print the shapes, one a line."""
    table = Table("shape", "batch, maps, places", "drops", "network", box=None)
    for shape in SHAPES:
        size = " x ".join(map(str, shape.first))
        table.add_row(shape.name, size, ", ".join(shape.operations), shape.source)
    console.print(table)


def _heading(row: Row) -> str:
    size = " x ".join(map(str, row["size"]))
    array = f"{row['framework']}, {row['shape']}: {size} {row['dtype']}, {row['layout']}"
    return array if row["device"] == "cpu" else f"{array}, {row['gpu']}"


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("drop", min_width=8, no_wrap=True)
    table.add_column("pass", min_width=8, no_wrap=True)
    table.add_column(OURS, min_width=8, justify="right", no_wrap=True)
    table.add_column("against", min_width=18, no_wrap=True)
    table.add_column("", min_width=8, justify="right", no_wrap=True)
    table.add_column("ours / theirs", min_width=_WIDTH + 6, no_wrap=True)
    table.add_column("memory", justify="right", no_wrap=True)
    for row in rows:
        ours = time_text(row["milliseconds"][OURS]["median"])
        own = (row["operation"], _PASSES.get(row["direction"], row["direction"]), ours)
        for other in (*row["peers"], row["limit"]):
            peer = other in row["peers"]
            table.add_row(
                *own,
                Text(other, "" if peer else "dim"),
                time_text(theirs(row, other)),
                _bar(row["ratios"][other], peer),
                _memory(row, other),
            )
            own = ("", "", "")
    return table


def theirs(row: Row, other: str) -> float:
    """Return the milliseconds of a peer, or of the limit, which need not have been timed."""
    if other in row["milliseconds"]:
        return float(row["milliseconds"][other]["median"])
    return float(row["milliseconds"][OURS]["median"] / row["ratios"][other])


def time_text(milliseconds: float) -> str:
    """Return a time in three digits or so."""
    if milliseconds < 1:
        return f"{milliseconds * 1e3:.0f} µs"
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def _bar(ratio: float, peer: bool) -> Text:
    """Return the ratio, and a bar of that length with a mark where both take equally long."""
    full, rest = divmod(min(round(ratio * _WIDTH * 4), _WIDTH * 8), 8)
    cells = ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(_WIDTH)
    if full < _WIDTH // 2:
        cells = cells[: _WIDTH // 2] + "╎" + cells[_WIDTH // 2 + 1 :]
    colour = "dim" if not peer else "green" if ratio <= 1 else "red" if ratio > 1.1 else "yellow"
    return Text(f"{ratio:5.2f} ").append(cells, colour)


def _memory(row: Row, other: str) -> str:
    """Return our peak through theirs."""
    ours, others = row["bytes"][OURS], row["bytes"].get(other)
    return f"{ours / others:.2f}" if ours is not None and others else ""


def _sentences(rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    yield "Below 1, a bar that ends before the mark, is faster (or less memory) than theirs."
    if any(row["direction"] == STEP for row in rows):
        yield (
            "compact: a training step that leaves out what is dropped. The arithmetic is what its"
            " multiplications alone allow."
        )
    versions = {name: row[name] for row in rows for name in PACKAGES if name in row}
    named = [f"mapdrop {rows[0]['mapdrop']}", *(f"{name} {v}" for name, v in versions.items())]
    yield ", ".join(named)
    yield f"{rows[0]['processor']}, {rows[0]['cores']} cores, {rows[0]['date']}"

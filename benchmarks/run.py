"""Run rows, print their ratios, and append them as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.environment import environment
from benchmarks.row import Row
from benchmarks.timing import Times, interleaved

RESULTS = Path(__file__).parent / "results"


def run(rows: Sequence[Row], results: Path, word: str = "") -> None:
    """Those whose names have the word in them."""
    console = Console()
    table = Table("work", "ours", "peer", "ours / peer", "reach", "ours / limit")
    rows = [row for row in rows if word in row.name]
    for number, row in enumerate(rows, 1):
        console.print(f"[dim]{number}/{len(rows)} {row.name}[/dim]")
        times = interleaved(row.make(), row.rounds, row.calls)
        _append(row, times, results)
        table.add_row(*_cells(row, times))
    if rows:
        console.print(table)


def _cells(row: Row, times: dict[str, Times]) -> list[str]:
    ours, peer = times["mapdrop"].median, times[row.peer].median
    ratio = ours / peer
    reached = "[green]" if ratio <= row.reach else "[red]"
    limit = ""
    if row.limit is not None:
        near = ours / times[row.limit].median
        goal = f" (at most {row.limit_reach})" if row.limit_reach else ""
        limit = f"{near:.2f} x {row.limit}{goal}"
    return [
        row.name,
        f"{ours * 1e3:.3f} ms",
        f"{row.peer} {peer * 1e3:.3f} ms",
        f"{reached}{ratio:.3f}[/]" + (f" ({1 / ratio:.1f} x faster)" if ratio < 0.5 else ""),
        f"{row.reach:.3f}",
        limit,
    ]


def _append(row: Row, times: dict[str, Times], results: Path) -> None:
    record = {
        "row": row.name,
        "peer": row.peer,
        "reach": row.reach,
        "limit": row.limit,
        "limit_reach": row.limit_reach,
        "rounds": row.rounds,
        "milliseconds": {
            name: {"median": t.median * 1e3, "p10": t.low * 1e3, "p90": t.high * 1e3}
            for name, t in times.items()
        },
        **environment(),
    }
    results.parent.mkdir(exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(record) + "\n")

"""Show the outcome as a table of at most 80 columns, or as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapdrop.tools.check.rows import (
    DIFFERS,
    FAILED,
    MISSING,
    SAME,
    UNAVAILABLE,
    Row,
    common_digests,
    disagreements,
)
from mapdrop.tools.check.run import Outcome

WIDTH = 80
_SHOWN_AS = {
    SAME: Text("same", "green"),
    DIFFERS: Text("differ", "bold red"),
    FAILED: Text("failed", "bold red"),
    UNAVAILABLE: Text("not here", "dim"),
    MISSING: Text("not here", "dim"),
}
_MOST = 5  # Differences of a row; JSON has all.


def document(outcome: Outcome) -> str:
    """Return everything as JSON."""
    return json.dumps(
        {
            "ok": outcome.ok,
            "specification": outcome.specification,
            "versions": outcome.versions,
            "machine": outcome.machine,
            "digests": common_digests(outcome.rows),
            "disagreements": disagreements(outcome.rows),
            "rows": [asdict(row) for row in outcome.rows],
        },
        indent=2,
    )


def show(outcome: Outcome) -> None:
    """Print everything on standard output."""
    console = Console(highlight=False, soft_wrap=True)
    for line in _head(outcome):
        console.print(line, style="dim", markup=False)
    console.print()
    console.print(_table(outcome.rows))
    console.print()
    for line in _notes(outcome):
        console.print(line, markup=False)


def _head(outcome: Outcome) -> Iterator[str]:
    versions = {**outcome.versions}
    own = f"mapdrop {versions.pop('mapdrop')}, mask specification {outcome.specification}"
    machine = outcome.machine
    yield f"{own}, {machine['system']} {machine['processor']}, {machine['cores']} cores"
    yield from _wrapped("", ", ".join(f"{name} {version}" for name, version in versions.items()))
    devices = {row.device: row.device_name for row in outcome.rows if row.device_name}
    for device, name in devices.items():
        yield f"{device}: {name}"


def _table(rows: tuple[Row, ...]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("framework", "device", "mode"):
        table.add_column(heading, no_wrap=True)
    for heading in ("vectors", "values", "ms", "own ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("bits", no_wrap=True)
    last = None
    for row in rows:
        compared = row.status in (SAME, DIFFERS)
        table.add_row(
            "" if row.framework == last else row.framework,
            row.device,
            row.mode,
            *(_share(*row.vectors) if compared else "", _share(*row.values) if compared else ""),
            *(_time(row.ms), _time(row.own_ms)),
            _SHOWN_AS[row.status],
        )
        last = row.framework
    return table


def _notes(outcome: Outcome) -> Iterator[str]:
    rows = outcome.rows
    for row in rows:
        if row.reason:
            yield from _wrapped(f"{row.name}: ", row.reason)
        for number, (name, fault) in enumerate(row.differs.items()):
            if number == _MOST:
                yield from _wrapped("  ", f"and {len(row.differs) - _MOST} more")
                break
            yield from _wrapped(f"{row.name}: ", f"{name}: {fault}")
    for part, split in disagreements(rows).items():
        who = "; ".join(f"{digest} in {', '.join(names)}" for digest, names in split.items())
        yield from _wrapped("", f"{part}: not the same bits everywhere: {who}")
    if any(row.ms is not None for row in rows):
        yield from _wrapped(
            "ms: ",
            "a drop of 1,048,576 float32, a coin for each, the median of several;"
            " own ms: the framework's own dropout",
        )
    compared = [row for row in rows if row.status in (SAME, DIFFERS)]
    if outcome.ok and compared:
        digests = ", ".join(f"{part} {digest[:8]}" for part, digest in common_digests(rows).items())
        yield from _wrapped("", f"The specification's bits in every row: {digests}.")
    wrong = ", ".join(row.name for row in rows if row.wrong)
    if wrong:
        yield from _wrapped("", f"Not as the specification says: {wrong}.")


def _wrapped(first: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent="  ")


def _share(same: int, count: int) -> str:
    return f"{same}/{count}"


def _time(ms: float | None) -> str:
    return "" if ms is None else f"{ms:.3g}" if ms < 100 else f"{ms:.0f}"

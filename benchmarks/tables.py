"""The README's table of speed, made from the committed rows: `python -m benchmarks.tables`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.rows import ROWS

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
RESULTS = HERE / "results" / "cpu.jsonl"
_BETWEEN = re.compile(r"(?<=<!-- speed -->\n).*?(?=<!-- /speed -->)", re.DOTALL)


def newest(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The last record of each row."""
    lines = results.read_text().splitlines()
    return {record["row"]: record for record in map(json.loads, lines)}


def table() -> str:
    """Markdown; raises KeyError where a row of the benchmark was never run."""
    records = newest()
    lines = ["| work | mapdrop | peer | mapdrop / peer |", "| --- | --- | --- | --- |"]
    for row in ROWS:
        record = records[row.name]
        times = {name: spread["median"] for name, spread in record["milliseconds"].items()}
        ours, peer = times["mapdrop"], times[row.peer]
        lines.append(
            f"| {row.name} | {_time(ours)} | `{row.peer}` {_time(peer)} | {ours / peer:.2f} |"
        )
    machines = {
        f"{r['processor']}, {r['threads']} threads, torch {r['torch']}, {r['date']}"
        for r in (records[row.name] for row in ROWS)
    }
    shape = "32x256x56x56 float32 where no shape is named, p = 0.5 (DropBlock 0.1)."
    return "\n".join([*lines, "", f"{shape} {'; '.join(sorted(machines))}.", ""])


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds >= 1 else f"{milliseconds * 1e3:.0f} µs"


def filled(readme: str) -> str:
    """The README's text with the table in its place."""
    return _BETWEEN.sub(lambda _: table(), readme)


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))

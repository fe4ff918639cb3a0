"""The README's tables of speed, made from the committed rows: `python -m benchmarks.tables`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.rows import ROWS

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
RESULTS = HERE / "results" / "cpu.jsonl"
# Of the packages a row was measured with, those that are named below the table.
_NAMED = ("torch", "jax", "flax", "tensorflow", "keras")
FRAMEWORKS = HERE / "results" / "frameworks.jsonl"


def newest(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The last record of each row."""
    lines = results.read_text().splitlines()
    return {record["row"]: record for record in map(json.loads, lines)}


def table() -> str:
    """Markdown; raises KeyError where a row of the benchmark was never run."""
    records = newest()
    shape = "32x256x56x56 float32 where no shape is named, p = 0.5 (DropBlock 0.1)."
    return _table([records[row.name] for row in ROWS], shape)


def frameworks_table() -> str:
    """Markdown, of every row that there is of the other frameworks."""
    shape = "32x56x56x256 float32 (Keras 64 maps) where no dtype is named, p = 0.5."
    return _table(list(newest(FRAMEWORKS).values()), shape)


def _table(records: list[dict[str, Any]], shape: str) -> str:
    lines = ["| work | mapdrop | peer | mapdrop / peer |", "| --- | --- | --- | --- |"]
    for record in records:
        times = {name: spread["median"] for name, spread in record["milliseconds"].items()}
        ours, peer = times["mapdrop"], times[record["peer"]]
        lines.append(
            f"| {record['row']} | {_time(ours)} | `{record['peer']}` {_time(peer)} "
            f"| {ours / peer:.2f} |"
        )
    machines = {
        ", ".join(
            [r["processor"], f"{r['threads']} threads"]
            + [f"{name} {r[name]}" for name in _NAMED if name in r]
            + [r["date"]]
        )
        for r in records
    }
    return "\n".join([*lines, "", f"{shape} {'; '.join(sorted(machines))}.", ""])


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds >= 1 else f"{milliseconds * 1e3:.0f} µs"


def filled(readme: str) -> str:
    """The README's text with the tables in their places."""
    for mark, made in (("speed", table()), ("frameworks", frameworks_table())):
        between = rf"(?<=<!-- {mark} -->\n).*?(?=<!-- /{mark} -->)"
        readme = re.sub(between, made.replace("\\", r"\\"), readme, flags=re.DOTALL)
    return readme


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))

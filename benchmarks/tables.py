"""The table of speed in docs/bench.md, made from the committed rows.

mapdrop bench --full --out benchmarks/results/operations.jsonl
python -m benchmarks.tables
"""

from __future__ import annotations

from benchmarks.pages import DOCS, RESULTS, Record, measured_on, newest, placed
from mapdrop.tools.bench.case import OURS
from mapdrop.tools.bench.report import PACKAGES, theirs, time_text

PAGE = DOCS / "bench.md"
_KEY = ("framework", "operation", "shape", "layout", "dtype", "device", "direction")
_USUAL = {"dtype": "float32", "device": "cpu"}


def rows() -> list[Record]:
    """The last of each, a framework after the other."""
    records = newest(RESULTS / "operations.jsonl", _KEY).values()
    order = list(dict.fromkeys(record["framework"] for record in records))
    return sorted(records, key=lambda record: order.index(record["framework"]))


def table(records: list[Record]) -> str:
    """Markdown."""
    lines = [
        "| drop | mapdrop | peer: its time, ours / theirs | ours / limit | memory, ours / theirs |",
        "| --- | --- | --- | --- | --- |",
        *map(_line, records),
    ]
    return "\n".join([*lines, "", measured_on(records, PACKAGES), ""])


def _line(record: Record) -> str:
    ratios, held = record["ratios"], record["bytes"]
    peers = [
        f"{_code(n)} {time_text(theirs(record, n))}, **{ratios[n]:.2f}**" for n in record["peers"]
    ]
    memory = [
        f"{held[OURS] / held[n]:.2f}" for n in record["peers"] if held[OURS] is not None and held[n]
    ]
    ours = time_text(record["milliseconds"][OURS]["median"])
    near = f"{ratios[record['limit']]:.2f} of {record['limit']}"
    cells = [_name(record), ours, "; ".join(peers), near, ", ".join(memory)]
    return f"| {' | '.join(cells)} |"


def _name(record: Record) -> str:
    parts = [f"{record['framework']} {record['operation']}", record["shape"], record["direction"]]
    if record["framework"] == "torch" and record["layout"] != "channels first":
        parts.append(record["layout"])
    parts += [record[name] for name, usual in _USUAL.items() if record[name] != usual]
    return ", ".join(parts)


def _code(name: str) -> str:
    return name if " " in name or "'" in name else f"`{name}`"


def filled(text: str) -> str:
    """Return docs/bench.md with the table in its place."""
    return placed(text, "rows", table(rows()))


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

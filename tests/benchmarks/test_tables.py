"""The tables of the pages are those of the committed rows, and say what the rows say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import compact_tables, compiled, fused, readme_table, tables
from benchmarks.compact import AGAIN, NONE, OURS, PEER, ROWS
from benchmarks.models import MODELS
from benchmarks.pages import README

COMPACT = compact_tables.PAGE.read_text(encoding="utf-8")


def test_the_table_of_speed_is_that_of_the_committed_rows() -> None:
    text = tables.PAGE.read_text(encoding="utf-8")
    assert tables.filled(text) == text, "run: python -m benchmarks.tables"
    changed = text.replace("resnet50-2", "resnet50-3")
    assert changed != text
    assert tables.filled(changed) == text


def test_the_readme_s_table_is_that_of_the_committed_rows() -> None:
    text = README.read_text(encoding="utf-8")
    assert readme_table.filled(text) == text, "run: python -m benchmarks.readme_table"
    changed = re.sub(r"(?<=\d)x\*\*", "1x**", text)
    assert changed != text
    assert readme_table.filled(changed) == text


def test_the_readme_has_one_table_of_six_rows() -> None:
    lines = [line for line in README.read_text("utf-8").splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(readme_table.SHOWN) <= 2 + 6


def test_the_readme_s_table_cannot_be_made_without_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"row": "a", "processor": "some"}) + "\n")
    shown = readme_table.Shown("b", file, "b", "some", "peer", "none")
    with pytest.raises(LookupError, match="never run: b, some"):
        readme_table.table((shown,))


def test_the_table_of_compiled_graphs_is_that_of_the_committed_rows() -> None:
    text = fused.PAGE.read_text(encoding="utf-8")
    assert fused.filled(text) == text, "run: python -m benchmarks.fused"
    assert compiled.filled(text) == text, "run: python -m benchmarks.compiled"
    changed = text.replace("resnet50-2", "resnet50-3").replace("128-128", "64-64")
    assert changed != text
    assert compiled.filled(fused.filled(changed)) == text


def test_the_table_of_compact_is_that_of_the_committed_rows() -> None:
    assert compact_tables.filled(COMPACT) == COMPACT, "run: python -m benchmarks.compact_tables"
    start, end = COMPACT.index("<!-- compact -->"), COMPACT.index("<!-- /compact -->")
    rows = COMPACT[start:end]
    changed = COMPACT.replace(rows, re.sub(r"(?<=\d)x \|", "1x |", rows))
    assert changed != COMPACT
    assert compact_tables.filled(changed) == COMPACT


def test_the_table_of_compact_says_what_its_rows_say(tmp_path: Path) -> None:
    text = compact_tables.filled(COMPACT, _rows(tmp_path, {ROWS[0].name: 100.0}))
    # The peer's 200 ms and the 150 ms with no dropout, through ours.
    assert f"| {ROWS[0].network} | 0.5 | share=8 | 4.00x | 2.00x (50%), 1.50x |" in text
    assert f"| {ROWS[1].network} | 0.5 | {ROWS[1].mask} | 4.00x | 0.80x (20%), 0.60x |" in text
    counted = re.search(r"Never below 0.80x at p = 0.1 and on (\d+) published networks.", text)
    assert counted
    assert 5 < int(counted[1]) < len(MODELS), "two builds of one network count once"
    idle = sum(row.group == "small p" for row in ROWS)
    assert f"{idle} of these rows skip nothing" in text
    assert "their spread, 0.80x to 0.80x, is measurement noise" in text
    assert "0.25 of `nn.Dropout2d`'s (1 instead of 4 MiB; some)" in text
    again = compact_tables.filled(COMPACT, _rows(tmp_path, {ROWS[0].name: 50.0}))
    assert "| 4.00x | 4.00x (100%), 3.00x |" in again, "the newest row of a name counts"
    other = compact_tables.filled(COMPACT, _rows(tmp_path, {}, "another"))
    assert "| 4.00x | 0.80x (20%), 0.60x | 4.00x (100%), 3.00x |" in other, "a processor a column"


def test_the_table_of_rates_says_what_its_rows_say(tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.group == "rates")
    changed = compact_tables.filled(COMPACT, _rows(tmp_path, {row.name: 100.0}))
    line = f"| {row.network} | {row.p} | **2.00x** | 50% of 4.00x | 10% of the time | 0.91 |"
    assert line in changed


def test_the_table_of_compact_cannot_be_made_without_its_rows(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run python -m benchmarks"):
        compact_tables.filled(COMPACT, tmp_path / "none.jsonl")
    rows = _rows(tmp_path, {})
    rows.write_text("\n".join(rows.read_text().splitlines()[1:]))
    with pytest.raises(LookupError, match="never run"):
        compact_tables.filled(COMPACT, rows)


def _rows(folder: Path, ours: dict[str, float], processor: str = "some") -> Path:
    """Appends a record of every row, with our milliseconds, or 250 where none are given."""
    file = folder / "compact.jsonl"
    with file.open("a") as lines:
        for row in ROWS:
            times = {OURS: ours.get(row.name, 250.0), PEER: 200.0, AGAIN: 220.0, NONE: 150.0}
            record = {
                "row": row.name,
                "network": row.network,
                "p": row.p,
                "mask": row.mask,
                "group": row.group,
                "gains": {name: median / times[OURS] for name, median in times.items()},
                "bound": 4.0,
                "predicted_saving": 0.0 if row.group == "small p" else 0.1,
                "bytes": {OURS: 2**20, PEER: 2**22},
                "processor": processor,
                **dict.fromkeys(("threads", "torch", "date"), "some"),
            }
            lines.write(json.dumps(record) + "\n")
    return file

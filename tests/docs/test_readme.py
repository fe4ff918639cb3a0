"""The README's code runs, and its figures are those of the committed rows."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mypy import api as mypy
from torch import nn

from benchmarks import compact_tables, compiled, fused, tables
from benchmarks.compact import AGAIN, NONE, OURS, PEER, ROWS
from benchmarks.models import MODELS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PAGE = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_its_whole_api_stands_in_four_code_blocks() -> None:
    assert len(BLOCKS) == 4


def test_its_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    x, maps = np.ones((4, 8, 8, 16), np.float32), torch.ones(2, 64, 9, 9)
    names: dict[str, object] = {"x": x, "maps": maps, "nn": nn, "np": np}
    for block in BLOCKS:
        exec(block, names)
    assert (tmp_path / "mask.npz").exists()
    net = names["net"]
    assert isinstance(net, nn.Module)
    fast = names["fast"]
    assert isinstance(fast, nn.Module)
    assert all(parameter.grad is not None for parameter in fast.parameters())
    y = net(torch.ones(2, 3, 9, 9))
    assert y.shape == (2, 9, 7, 7)
    assert names["m"].coins.shape == (4, 16)  # type: ignore[attr-defined]


def test_type_checkers_take_its_code(tmp_path: Path) -> None:
    """With its twin in one run, which keeps nothing: it takes its time for reading PyTorch."""
    head = "import torch\nfrom torch import nn\nmaps = torch.ones(2, 64, 9, 9)\n"
    for name, line in (("readme", ""), ("twin", "fast.report()")):
        (tmp_path / f"{name}.py").write_text(f"{head}{BLOCKS[1]}\n{line}\n", encoding="utf-8")
    options = ["--strict", "--config-file=", f"--cache-dir={os.devnull}"]
    out, errors, _ = mypy.run([*options, *map(str, sorted(tmp_path.iterdir()))])
    assert re.findall(r"(\w+)\.py:\d+: error: ", out) == ["twin"], out + errors


def test_its_error_is_the_one_that_is_raised() -> None:
    shown = re.findall(r"PatternError: (.*?)```", README, re.DOTALL)
    from mapdrop.torch import SpatialDropout2d

    with pytest.raises(ValueError, match="takes 4 axes") as caught:
        SpatialDropout2d(0.5)(torch.ones(8, 64, 100))
    assert str(caught.value) == shown[0].rstrip("\n")


def test_its_table_of_speed_is_that_of_the_committed_rows() -> None:
    for text in (README, PAGE):
        assert tables.filled(text) == text, "run: python -m benchmarks.tables"
        changed = text.replace("1000-values", "1001-values")
        assert changed != text
        assert tables.filled(changed) == text


def test_the_table_of_compiled_graphs_is_that_of_the_committed_rows() -> None:
    text = fused.PAGE.read_text(encoding="utf-8")
    assert fused.filled(text) == text, "run: python -m benchmarks.fused"
    assert compiled.filled(text) == text, "run: python -m benchmarks.compiled"
    changed = text.replace("resnet50-2", "resnet50-3").replace("128-128", "64-64")
    assert changed != text
    assert compiled.filled(fused.filled(changed)) == text


def test_its_table_of_compact_is_that_of_the_committed_rows() -> None:
    assert compact_tables.filled(README) == README, "run: python -m benchmarks.compact_tables"
    start, end = README.index("<!-- compact -->"), README.index("<!-- /compact -->")
    rows = README[start:end]
    changed = README.replace(rows, re.sub(r"(?<=\d)x \|", "1x |", rows))
    assert changed != README
    assert compact_tables.filled(changed) == README


def test_the_table_of_compact_says_what_its_rows_say(tmp_path: Path) -> None:
    text = compact_tables.filled(README, _rows(tmp_path, {ROWS[0].name: 100.0}))
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
    again = compact_tables.filled(README, _rows(tmp_path, {ROWS[0].name: 50.0}))
    assert "| 4.00x | 4.00x (100%), 3.00x |" in again, "the newest row of a name counts"
    other = compact_tables.filled(README, _rows(tmp_path, {}, "another"))
    assert "| 4.00x | 0.80x (20%), 0.60x | 4.00x (100%), 3.00x |" in other, "a processor a column"


def test_the_table_of_rates_is_that_of_the_committed_rows(tmp_path: Path) -> None:
    text = compact_tables.PAGE.read_text(encoding="utf-8")
    assert compact_tables.filled(text) == text, "run: python -m benchmarks.compact_tables"
    row = next(row for row in ROWS if row.group == "rates")
    changed = compact_tables.filled(text, _rows(tmp_path, {row.name: 100.0}))
    line = f"| {row.network} | {row.p} | **2.00x** | 50% of 4.00x | 10% of the time | 0.91 |"
    assert line in changed


def test_the_table_of_compact_cannot_be_made_without_its_rows(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run python -m benchmarks"):
        compact_tables.filled(README, tmp_path / "none.jsonl")
    rows = _rows(tmp_path, {})
    rows.write_text("\n".join(rows.read_text().splitlines()[1:]))
    with pytest.raises(LookupError, match="never run"):
        compact_tables.filled(README, rows)


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

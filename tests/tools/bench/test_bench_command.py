"""`mapdrop bench` as it is used, and what it says when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mapdrop.cli import app
from mapdrop.tools.bench import run
from mapdrop.tools.bench.report import _bar
from mapdrop.tools.installed import Installed
from mapdrop.tools.subprocesses import EndedError, messages


def bench(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["bench", *arguments], env={"COLUMNS": "80"})


def test_rows_are_kept_and_shown(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    asked = ("--only", "numpy", "--case", "tcn", "--seconds", "0.01", "--out", str(out))
    done = bench(*asked)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["operation"] for row in rows] == ["spatial", "element"]
    for row in rows:
        assert row["framework"] == "numpy"
        assert row["size"] == [16, 80, 600]
        assert row["milliseconds"]["mapdrop"]["median"] > 0
        assert {"date", "commit", "processor", "threads", "cores", "python", "numpy"} < set(row)
    assert "numpy, tcn: 16 x 80 x 600 float32, channels last" in done.output
    assert "numpy.where" in done.output
    assert max(map(len, done.output.splitlines())) <= 80
    out.write_text(out.read_text().rstrip())  # As some editors leave it.
    bench(*asked)
    assert [type(json.loads(line)) for line in out.read_text().splitlines()] == [dict] * 4, "added"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--only", "mxnet"), "'mxnet' is not one of numpy, torch"),
        (("--out", "no/such/rows.jsonl"), "there is no folder no/such"),
        (("--out", "."), "--out . cannot be written: Is a directory"),
        (("--only", "\x1b[2J"), r"--only \x1b[2J: '\x1b[2J' is not one of"),
        (("--only", "numpy", "--case", "lstm"), "no case here has 'lstm' in its name"),
        (("--seconds", "0"), "0.01"),
        (("--seconds", "inf"), "--seconds inf is not a time: a number from 0.01 on"),
    ],
)
def test_what_it_cannot_do_it_says(arguments: tuple[str, ...], told: str) -> None:
    done = bench(*arguments)
    assert done.exit_code == 2
    assert told in done.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_rows_that_cannot_be_kept_are_shown() -> None:
    done = bench("--only=numpy", "--case=tcn", "--seconds=0.01", "--out=/dev/full")
    assert done.exit_code == 1
    assert done.stdout.count("numpy.where") == 2
    assert done.stderr.endswith("error: --out /dev/full lacks rows: No space left on device\n")


def test_the_shapes_are_listed() -> None:
    done = bench("--shapes")
    assert done.exit_code == 0
    assert "wrn-28-10-3" in done.output
    assert "ResNet-50" in done.output


def test_a_framework_that_breaks_takes_nothing_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(framework: Installed, *arguments: Any) -> Iterator[dict[str, Any]]:
        if framework.name == "torch":
            yield {"cases": 2}
            yield {"failed": "element, tcn: RuntimeError: no kernel image"}
            raise EndedError("the process died of SIGABRT; it said nothing")
        yield from messages(framework, *arguments)

    monkeypatch.setattr(run, "messages", broken)
    asked = ("--only", "torch,numpy", "--case", "element, tcn", "--seconds", "0.01")
    done = bench(*asked)
    assert done.exit_code == 1
    text = " ".join(done.output.split())
    assert "torch: element, tcn: RuntimeError: no kernel image" in text
    assert "torch: the process died of SIGABRT" in text
    assert "numpy.where" in text


def test_bars_end_at_the_mark_where_both_take_equally_long() -> None:
    assert _bar(1.0, True).plain == " 1.00 █████     "
    assert _bar(0.5, True).plain == " 0.50 ██▌  ╎    "
    assert _bar(0.01, True).plain == " 0.01      ╎    "
    assert _bar(99.0, True).plain == "99.00 ██████████"

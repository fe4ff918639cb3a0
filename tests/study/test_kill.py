"""A study killed at any moment can be resumed, with nothing lost and nothing repeated."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mapdrop.study.rows import Row, read_rows
from tests.study.test_command import SMALL, call

pytestmark = [
    pytest.mark.subprocess,
    pytest.mark.training,
    pytest.mark.usefixtures("cells_run_here"),  # Those of the undisturbed study.
]

CELLS = [*SMALL, "--train-size", "2,4", "--drops", "none,spatial", "--rates", "0.3,0.6", "--jobs=2"]
ROWS = 1 + 3 + 12  # The study, the timings, three conditions of two sizes and two seeds.
TIMES = ("written", "seconds", "ratio", "step_ms")


def started(out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "mapdrop", "study", "scenes", *CELLS, "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finished(out: Path) -> list[Row]:
    process = started(out)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return read_rows(out / "rows.jsonl")


def undisturbed(out: Path) -> list[Row]:
    done = call("scenes", *CELLS, "--out", str(out))
    assert done.exit_code == 0, done.output
    return read_rows(out / "rows.jsonl")


def without_times(rows: list[Row]) -> list[str]:
    """Return rows without times, in an order that doesn't depend on the processes."""
    return sorted(
        str({name: value for name, value in row.items() if name not in TIMES}) for row in rows
    )


def killed(out: Path, lines: int, moment: float) -> None:
    """Kill the study and all its processes a moment after it has a number of rows."""
    process, until = started(out), time.monotonic() + 120
    file = out / "rows.jsonl"
    while not file.exists() or file.read_bytes().count(b"\n") < lines:
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.002)
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def survives(folder: Path, kills: int) -> None:
    whole = undisturbed(folder / "whole")
    assert len(whole) == ROWS
    chance = random.Random(kills)
    lines = sorted(chance.randrange(0, ROWS - 1) for _ in range(kills))
    for count in lines:
        killed(folder / "killed", count, chance.uniform(0, 0.4))
    rows = finished(folder / "killed")
    assert without_times(rows) == without_times(whole)
    report = (folder / "killed" / "report.txt").read_text()
    assert report.splitlines()[:1] == (folder / "whole" / "report.txt").read_text().splitlines()[:1]
    # Another call changes nothing.
    assert undisturbed(folder / "killed") == rows


def test_a_killed_study_ends_with_the_rows_of_the_undisturbed_one(tmp_path: Path) -> None:
    survives(tmp_path, kills=2)


@pytest.mark.long
def test_a_study_killed_twenty_times(tmp_path: Path) -> None:
    survives(tmp_path, kills=20)

"""Real processes: killed at any moment, and several that train one model together."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mapdrop.cli import app
from mapdrop.localize.run.folder import Folder
from tests.localize import pictured

pytestmark = [pytest.mark.subprocess, pytest.mark.training]

OPTIONS = [
    "--size", "x".join(map(str, pictured.SIZE)), "--width", "3", "--coarse-steps", "12",
    "--fine-steps", "6", "--joint-steps", "6", "--batch", "4", "--every", "1", "--device", "cpu",
    # What pays is measured anew by each run, and decides how its sums are rounded.
    "--no-compact",
]  # fmt: skip
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["localize", "train", str(data), "--out", str(out), *OPTIONS, *more]


def files(folder: Path) -> list[bytes]:
    run = Folder(folder)
    return [path.read_bytes() for path in (run.best, run.last, run.log)]


def killed(arguments: list[str], log: Path, lines: int, moment: float) -> None:
    """Starts a run and kills it `moment` seconds after its log has so many lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mapdrop", *arguments],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not log.exists() or len(log.read_text().splitlines()) < lines:
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def survives(data: Path, folder: Path, kills: int) -> None:
    whole = CliRunner().invoke(app, command(data, folder / "whole"))
    assert "best on 1 validation images" in whole.output
    moments = random.Random(kills)
    lines = sorted(moments.sample(range(1, 22), kills))
    for count in lines:
        arguments = command(data, folder / "killed", "--resume")
        killed(arguments, Folder(folder / "killed").log, count, moments.uniform(0, 0.05))
    again = [sys.executable, "-m", "mapdrop", *command(data, folder / "killed", "--resume")]
    subprocess.run(again, env=ENVIRONMENT, check=True, capture_output=True)
    assert files(folder / "killed") == files(folder / "whole")


def test_a_killed_run_ends_as_the_undisturbed_one(data: Path, tmp_path: Path) -> None:
    survives(data, tmp_path, kills=2)


@pytest.mark.long
def test_a_run_killed_twenty_times_ends_as_the_undisturbed_one(data: Path, tmp_path: Path) -> None:
    survives(data, tmp_path, kills=20)


def test_a_second_training_in_one_folder_is_refused(data: Path, tmp_path: Path) -> None:
    whole = CliRunner().invoke(app, command(data, tmp_path / "whole"))
    assert whole.exit_code == 0, whole.output
    shared = tmp_path / "shared"
    first = subprocess.Popen(
        [sys.executable, "-m", "mapdrop", *command(data, shared)],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not Folder(shared).log.exists():
        assert time.monotonic() < until
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)  # So that it is still there, however fast it is.
    second = CliRunner().invoke(app, command(data, shared, "--resume"))
    first.send_signal(signal.SIGCONT)
    output, _ = first.communicate()
    assert second.exit_code == 1
    assert f"another process trains in {shared}" in second.output
    assert first.returncode == 0, output
    assert files(shared) == files(tmp_path / "whole")


def test_two_processes_train_what_one_does(data: Path, tmp_path: Path) -> None:
    more = ("--drop", "share=2", "--every", "6")
    alone = CliRunner().invoke(app, command(data, tmp_path / "1", *more))
    assert alone.exit_code == 0, alone.output
    together = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            "-m", "mapdrop", *command(data, tmp_path / "2", *more),
        ],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert together.returncode == 0, together.stdout + together.stderr
    assert together.stdout.count("best on 1 validation images") == 1
    logs = {
        ranks: [
            json.loads(line) for line in Folder(tmp_path / str(ranks)).log.read_text().splitlines()
        ]
        for ranks in (1, 2)
    }
    assert [row["step"] for row in logs[1]] == [0, 6, 12, 0, 6, 0, 6]
    losses = [[row["loss"] for row in logs[ranks] if row["step"]] for ranks in (1, 2)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert len(set(losses[0])) == len(losses[0])

"""Processes that are killed at any moment, and several that train one model together."""

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
from tests.localize import spots

pytestmark = [pytest.mark.subprocess, pytest.mark.training]

OPTIONS = [
    "--size",
    "x".join(map(str, spots.SIZE)),
    "--width",
    "3",
    "--coarse-steps",
    "12",
    "--fine-steps",
    "6",
    "--joint-steps",
    "6",
    "--batch",
    "4",
    "--every",
    "1",
    "--device",
    "cpu",
    # Each run calibrates its costs, which affect rounding.
    "--no-compact",
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["localize", "train", str(data), "--out", str(out), *OPTIONS, *more]


def files(folder: Path) -> list[bytes]:
    run = Folder(folder)
    return [path.read_bytes() for path in (run.best, run.last, run.log)]


def killed(arguments: list[str], log: Path, lines: int, moment: float) -> None:
    """Start a run and kill it `moment` seconds after its log has a number of lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mapdrop", *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
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
    again = CliRunner().invoke(app, command(data, folder / "killed", "--resume"))
    assert again.exit_code == 0, again.output
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
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    until = time.monotonic() + 120
    while not Folder(shared).log.exists():
        assert time.monotonic() < until
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)  # So that it can't finish.
    second = CliRunner().invoke(app, command(data, shared, "--resume"))
    first.send_signal(signal.SIGCONT)
    output, _ = first.communicate()
    assert second.exit_code == 1
    assert f"another process is training in {shared}" in second.output
    assert first.returncode == 0, output
    assert files(shared) == files(tmp_path / "whole")


def test_two_processes_train_what_one_does(data: Path, tmp_path: Path) -> None:
    more = ("--drop", "share=2", "--every", "6")
    alone = CliRunner().invoke(app, command(data, tmp_path / "1", *more))
    assert alone.exit_code == 0, alone.output
    together = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            "-m",
            "mapdrop",
            *command(data, tmp_path / "2", *more),
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert together.returncode == 0, together.stdout + together.stderr
    assert together.stdout.count("best on 1 validation images") == 1
    logs = {
        world_size: [
            json.loads(line)
            for line in Folder(tmp_path / str(world_size)).log.read_text().splitlines()
        ]
        for world_size in (1, 2)
    }
    assert [row["step"] for row in logs[1]] == [0, 6, 12, 0, 6, 0, 6]
    losses = [[row["loss"] for row in logs[world_size] if row["step"]] for world_size in (1, 2)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert len(set(losses[0])) == len(losses[0])

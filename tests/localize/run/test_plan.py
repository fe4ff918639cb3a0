"""What is said before a training starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from mapdrop.cli import app
from mapdrop.localize.command.plan import duration
from mapdrop.localize.run.folder import Folder
from mapdrop.localize.run.plan import Plan
from mapdrop.localize.run.process_group import ProcessGroup
from mapdrop.localize.run.settings import (
    DataSettings,
    NetworkSettings,
    Settings,
    TrainingSettings,
)
from mapdrop.localize.run.start import start_run
from mapdrop.localize.run.training import Run
from tests.localize import spots

ALONE = ProcessGroup(torch.device("cpu"))


def settings(data: Path, cascade: bool = True) -> Settings:
    return Settings(
        DataSettings(str(data), size=(64, 48), validation=0.25),
        NetworkSettings(width=2, banks=1, pooling=4, drop="none", rate=0.0, cascade=cascade),
        TrainingSettings(coarse=7, fine=5, joint=3, every=4, batch=2, compact=False),
    )


def gaps(folder: Path) -> Path:
    """Write eight images; in two of them `right` is missing, and one lies a little outside."""
    spots.write(folder, 8)
    lines = (folder / "points.csv").read_text().splitlines()
    for row in (2, 4):
        assert ",right," in lines[row]
        lines[row] = lines[row].split(",right,")[0] + ",right,,"
    lines[1] = lines[1].split(",left,")[0] + ",left,-2,10"
    (folder / "points.csv").write_text("\n".join(lines) + "\n")
    with Image.open(folder / "005.png") as image:
        image.resize((96, 96)).save(folder / "005.png")
    return folder


def test_a_plan_counts_every_joint_and_step(tmp_path: Path) -> None:
    run = start_run(Folder(tmp_path / "run"), settings(gaps(tmp_path / "data")), False, ALONE)
    plan = Plan.of(run)
    assert [joint.name for joint in plan.joints] == ["left", "right"]
    assert [joint.train + joint.validation for joint in plan.joints] == [7, 6]
    assert [joint.missing for joint in plan.joints] == [1 / 8, 2 / 8]
    assert (len(run.train), len(run.validation)) == (6, 2)
    assert plan.sizes == (
        "images of 64 to 96 pixels wide and 48 to 96 high are scaled to fit into 64x48"
    )
    assert plan.left_out == ("1 joint labelled outside the image",)
    assert plan.mirroring.startswith("half of the images are mirrored: pairs left-right")
    assert plan.steps == 15


@pytest.mark.parametrize("cascade", [True, False], ids=["cascade", "coarse"])
def test_the_time_is_that_of_the_steps_that_are_left(
    tmp_path: Path, data: Path, cascade: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let every step take a second and every validation ten, by a clock of the test's own."""
    clock = 0.0

    def waiting(seconds: float) -> float:
        nonlocal clock
        clock += seconds
        return 0.0

    monkeypatch.setattr("mapdrop.system.timing.time.perf_counter", lambda: clock)
    monkeypatch.setattr(Run, "step", lambda self, trainer, number: waiting(1))
    monkeypatch.setattr(Run, "scores", lambda self, network: waiting(10))
    run = start_run(Folder(tmp_path / "run"), settings(data, cascade), False, ALONE)
    steps = {"coarse": 7, "fine": 5, "joint": 3} if cascade else {"coarse": 7}
    expected = sum(count + 10 * (1 + count / 4) for count in steps.values())
    assert Plan.of(run).seconds == pytest.approx(expected)
    run.state.step = 2
    assert Plan.of(run).steps == sum(steps.values()) - 2
    run.state.stage, run.state.step = len(steps), 0
    assert (Plan.of(run).steps, Plan.of(run).seconds) == (0, 0.0)


@pytest.mark.training
def test_a_planned_run_has_the_bits_of_an_unplanned_one(data: Path, tmp_path: Path) -> None:
    found = []
    for planned in (False, True):
        run = start_run(Folder(tmp_path / str(planned)), settings(data), False, ALONE)
        if planned:
            Plan.of(run)
        run.execute()
        found.append(run.model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.2, "0 seconds"), (89, "89 seconds"), (91, "1.5 minutes"), (700, "12 minutes")),
        *((5399, "90 minutes"), (5401, "1.5 hours"), (90000, "25 hours")),
    ],
)
def test_a_duration_has_two_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def train(data: Path, *arguments: object) -> Result:
    network = "--size 64x48 --width 2 --banks 1 --pooling 4 --drop none --no-cascade"
    return CliRunner().invoke(
        app, ["localize", "train", str(data), *network.split(), *map(str, arguments)]
    )


def test_a_dry_run_tells_everything_and_writes_nothing(tmp_path: Path) -> None:
    data = gaps(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    done = train(data, "--dry-run", "--out", tmp_path / "run", "--coarse-steps", 30)
    assert done.exit_code == 0, done.output
    assert sorted(tmp_path.rglob("*")) == before
    assert "7 training and 1 validation images of 64x48 pixels, 2 joints" in done.output
    table = {
        found[1]: found.groups()[1:]
        for found in re.finditer(
            r"^ *(left|right) +(\d+) +(\d+) +(\d+) %", done.output, re.MULTILINE
        )
    }
    assert {name: (int(a) + int(b), share) for name, (a, b, share) in table.items()} == {
        "left": (7, "12"),
        "right": (6, "25"),
    }
    assert "pairs left-right" in done.output
    assert "left out: 1 joint labelled outside the image" in done.output
    assert re.search(r"30 steps, which take about \d+ seconds here", done.output)
    assert "nothing was written" in done.output


@pytest.mark.training
def test_a_training_tells_the_same_before_it_starts(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "run"
    done = train(data, "--out", out, "--coarse-steps", 2, "--no-flip")
    assert done.exit_code == 0, done.output
    assert "images are not mirrored: --no-flip" in done.output
    assert "nothing was written" not in done.output
    assert done.output.index("2 steps, which take about") < done.output.index(f"run: {out}")
    again = train(data, "--out", out, "--coarse-steps", 2, "--no-flip", "--dry-run")
    assert again.exit_code == 1
    assert "already holds a run" in again.output

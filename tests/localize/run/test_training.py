"""A run: bit-identical however often it is stopped; each stage starts from the best weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mapdrop.localize.augment import Augment
from mapdrop.localize.run.checkpoint import Checkpoint
from mapdrop.localize.run.folder import Folder, RunError
from mapdrop.localize.run.process_group import ProcessGroup
from mapdrop.localize.run.settings import (
    DataSettings,
    NetworkSettings,
    Settings,
    TrainingSettings,
)
from mapdrop.localize.run.start import start_run
from mapdrop.localize.run.trained import TrainedModel
from mapdrop.localize.run.training import LogEntry, Run
from mapdrop.torch.compact.model import Compact
from tests.localize import spots

pytestmark = pytest.mark.training

ALONE = ProcessGroup(torch.device("cpu"))
SMALL = TrainingSettings(
    coarse=7, fine=5, joint=4, batch=4, every=3, augment=Augment(2, 20, 1.2, 0.2)
)


class StoppedError(Exception):
    """Simulates a kill."""


def settings(data: Path, cascade: bool = True, **training: Any) -> Settings:
    return Settings(
        DataSettings(str(data), size=spots.SIZE, validation=0.25),
        NetworkSettings(width=3, banks=2, cascade=cascade),
        replace(SMALL, **training),
    )


def trained(
    folder: Path,
    asked: Settings,
    on_step: Callable[[str, int, LogEntry | None], None] = lambda *_: None,
    resume: bool = False,
) -> Run:
    run = start_run(Folder(folder), asked, resume, ALONE, on_step=on_step)
    run.execute()
    return run


def files(folder: Path) -> dict[str, bytes]:
    found = Folder(folder)
    return {path.name: path.read_bytes() for path in (found.last, found.best, found.log)}


def stopped_after(folder: Path, asked: Settings, steps: int, resume: bool) -> None:
    def stop(stage: str, step: int, row: LogEntry | None) -> None:
        if step == steps:
            raise StoppedError

    with pytest.raises(StoppedError):
        trained(folder, asked, stop, resume)


@pytest.mark.parametrize("cascade", [True, False], ids=["cascade", "coarse"])
def test_a_run_stopped_again_and_again_ends_with_the_same_bits(
    data: Path, tmp_path: Path, cascade: bool
) -> None:
    asked = settings(data, cascade)
    trained(tmp_path / "whole", asked)
    steps = [1, 2, 3, 4, 6, 7] + ([8, 10, 12, 13, 14, 16] if cascade else [])
    for number, after in enumerate(steps):
        stopped_after(tmp_path / "stopped", asked, after, resume=number > 0)
    trained(tmp_path / "stopped", asked, resume=True)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")
    trained(tmp_path / "other", replace(asked, training=replace(asked.training, seed=1)))
    assert (
        files(tmp_path / "other")["best.safetensors"]
        != files(tmp_path / "whole")["best.safetensors"]
    )


def test_a_kill_between_two_files_changes_nothing(data: Path, tmp_path: Path) -> None:
    asked = settings(data)
    trained(tmp_path / "whole", asked)
    stopped_after(tmp_path / "stopped", asked, 4, resume=False)
    earlier = (tmp_path / "stopped" / "last.safetensors").read_bytes()
    stopped_after(tmp_path / "stopped", asked, 8, resume=True)
    # The best weights are newer than the checkpoint, as if the process had died in between.
    (tmp_path / "stopped" / "last.safetensors").write_bytes(earlier)
    (tmp_path / "stopped" / ".log.jsonl.part").write_text("half a li", encoding="utf-8")
    trained(tmp_path / "stopped", asked, resume=True)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_resuming_without_the_optimisers_state_differs(data: Path, tmp_path: Path) -> None:
    """The comparisons above notice a checkpoint that lacks something."""
    asked = settings(data, cascade=False)
    trained(tmp_path / "whole", asked)
    stopped_after(tmp_path / "stopped", asked, 4, resume=False)
    folder = Folder(tmp_path / "stopped")
    saved = Checkpoint.read(folder.last)
    forgotten = {name: t * 0 if "exp_avg" in name else t for name, t in saved.tensors.items()}
    Checkpoint(forgotten, saved.metadata).write(folder.last)
    trained(tmp_path / "stopped", asked, resume=True)
    assert files(tmp_path / "stopped") != files(tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing(data: Path, tmp_path: Path) -> None:
    asked = settings(data)
    trained(tmp_path, asked)
    before, steps = files(tmp_path), []
    trained(tmp_path, asked, lambda *at: steps.append(at), resume=True)
    assert steps == []
    assert files(tmp_path) == before


def test_the_log_has_every_validation(data: Path, tmp_path: Path) -> None:
    run = trained(tmp_path, settings(data))
    log = [json.loads(line) for line in Folder(tmp_path).log.read_text().splitlines()]
    assert log == run.state.log
    assert [(row["stage"], row["step"]) for row in log] == [
        *(("coarse", step) for step in (0, 3, 6, 7)),
        *(("fine", step) for step in (0, 3, 5)),
        *(("joint", step) for step in (0, 3, 4)),
    ]
    assert all(row["loss"] > 0 for row in log if row["step"])
    # A stage starts from the best weights of the one before it.
    bests = {row["stage"]: row["score"] for row in log if row["best"]}
    assert log[7]["score"] == bests["fine"]


def test_the_best_weights_are_kept_and_a_stage_ends_when_none_are_better(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.1, 0.5, 0.3, 0.4, 0.2, 0.9])
    monkeypatch.setattr(
        Run, "scores", lambda self, located: {"score": next(scores), "median_error": 1.0}
    )
    seen: dict[int, dict[str, torch.Tensor]] = {}
    asked = settings(data, cascade=False, coarse=50, every=1, patience=3)
    run = start_run(
        Folder(tmp_path),
        asked,
        False,
        ALONE,
        on_step=lambda stage, step, row: seen.update(
            {step: {k: v.clone() for k, v in run.model.state_dict().items()}}
        ),
    )
    log = run.execute()
    assert [row["score"] for row in log] == [0.1, 0.5, 0.3, 0.4, 0.2]
    assert [row["best"] for row in log] == [True, True, False, False, False]
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, seen[1][name], rtol=0, atol=0)
    assert (seen[4]["head.0.weight"] != seen[1]["head.0.weight"]).any()
    best = Checkpoint.read(Folder(tmp_path).best)
    assert best.metadata["step"] == 1


def test_compact_is_the_same_run_up_to_rounding(data: Path, tmp_path: Path) -> None:
    asked = settings(data, cascade=False)
    asked = replace(asked, network=replace(asked.network, width=16))
    plain = replace(asked, training=replace(asked.training, compact=False))
    logs = [trained(tmp_path / name, of).state.log for name, of in (("a", asked), ("b", plain))]
    losses = [[row["loss"] for row in log if row["step"]] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_bfloat16_learns_too(data: Path, tmp_path: Path) -> None:
    whole = trained(tmp_path / "a", settings(data)).state.log
    halves = trained(tmp_path / "b", settings(data, precision="bfloat16")).state.log
    assert halves[2]["loss"] == pytest.approx(whole[2]["loss"], rel=0.1)
    assert halves[2]["loss"] != whole[2]["loss"]


def test_images_are_mirrored_when_joints_have_sides(data: Path, tmp_path: Path) -> None:
    for flip, swaps in ((None, [1, 0]), (True, [1, 0]), (False, None)):
        folder = tmp_path / str(flip)
        run = start_run(Folder(folder), settings(data, flip=flip), False, ALONE)
        assert run.batches.augment.flip == (swaps is not None)
        assert run.batches.swaps == swaps
    alone = settings(data)
    alone = replace(alone, data=replace(alone.data, joints=("left",)))
    assert start_run(Folder(tmp_path / "one"), alone, False, ALONE).batches.swaps is None


def test_another_run_is_not_resumed(data: Path, tmp_path: Path) -> None:
    asked = settings(data, cascade=False)
    trained(tmp_path / "run", asked)
    with pytest.raises(RunError, match="already holds a run; continue it with --resume"):
        trained(tmp_path / "run", asked)
    other = replace(asked, training=replace(asked.training, learning_rate=1e-3, batch=3))
    with pytest.raises(RunError, match=r"batch 3 instead of 4; learning-rate 0.001 instead of"):
        trained(tmp_path / "run", other, resume=True)
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    elsewhere = replace(asked, data=replace(asked.data, source=str(moved)))
    trained(tmp_path / "run", elsewhere, resume=True)  # The same images in another folder.
    spots.write(moved, count=12, seed=5)
    with pytest.raises(Exception, match="have changed since the run was started"):
        trained(tmp_path / "run", elsewhere, resume=True)


def test_a_batch_that_cannot_be_shared_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a batch of 4 can't be shared evenly by 3 processes"):
        start_run(Folder(tmp_path), settings(data), False, ProcessGroup(torch.device("cpu"), 0, 3))
    assert not list(tmp_path.iterdir())


def test_what_is_used_is_the_coarse_network_until_the_refiner_is_trained(
    data: Path, tmp_path: Path
) -> None:
    asked = settings(data)
    stopped_after(tmp_path, asked, 4, resume=False)
    cpu = torch.device("cpu")
    model = TrainedModel.load(tmp_path, cpu).model
    assert type(model).__name__ == "CoarseNet"
    assert isinstance(model, Compact)
    trained(tmp_path, asked, resume=True)
    assert type(TrainedModel.load(tmp_path, cpu).model).__name__ == "Cascade"

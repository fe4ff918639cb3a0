"""Checkpoints, records and settings: reading gives what was written, and damage is reported."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

from mapdrop.localize.augment import Augment
from mapdrop.localize.network import channels_last
from mapdrop.localize.run.checkpoint import Checkpoint
from mapdrop.localize.run.folder import Folder, RunError
from mapdrop.localize.run.record import Record
from mapdrop.localize.run.settings import (
    DataSettings,
    NetworkSettings,
    Settings,
    TrainingSettings,
)
from mapdrop.localize.run.trained import TrainedModel
from mapdrop.localize.train import Recipe, Trainer
from mapdrop.system.files import write


class Squares(nn.Module):
    """A stage whose loss is the mean square of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = channels_last(nn.Conv2d(3, 4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self.layer(x).square().mean()
        return loss


def make_step(trainer: Trainer, x: Any) -> float:
    """Make a step with a tensor for a batch, which is all that `Squares` needs."""
    return trainer(x)


def stepped(steps: int) -> tuple[Squares, Trainer]:
    torch.manual_seed(0)
    stage = Squares()
    trainer = Trainer(stage, Recipe(steps=9))
    for _ in range(steps):
        make_step(trainer, torch.ones(2, 3, 5, 5))
    return stage, trainer


def test_a_trainer_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    stage, trainer = stepped(3)
    Checkpoint.of(stage, trainer, {"note": 1.25}).write(tmp_path / "a.safetensors")
    again, other = stepped(0)
    saved = Checkpoint.read(tmp_path / "a.safetensors")
    assert saved.metadata["note"] == 1.25
    saved.restore(again, other)
    assert again.layer.weight.is_contiguous(memory_format=torch.channels_last)
    for _ in range(4):
        x = torch.randn(2, 3, 5, 5)
        assert make_step(trainer, x) == make_step(other, x)
    torch.testing.assert_close(again.layer.weight, stage.layer.weight, rtol=0, atol=0)


def test_the_weights_can_be_read_without_mapdrop(tmp_path: Path) -> None:
    stage, _ = stepped(2)
    Checkpoint.of(stage, None, {}).write(tmp_path / "a.safetensors")
    found = load_file(tmp_path / "a.safetensors")
    assert sorted(found) == ["model.layer.bias", "model.layer.weight"]
    torch.testing.assert_close(found["model.layer.weight"], stage.layer.weight.detach())


@pytest.mark.parametrize("content", [b"", b"x" * 100, None], ids=["empty", "noise", "missing"])
def test_a_file_that_is_not_a_checkpoint_is_reported(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"a\.safetensors is (not a checkpoint|missing)"):
        Checkpoint.read(path)


def test_a_cut_checkpoint_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    Checkpoint.of(stepped(1)[0], None, {}).write(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(RunError, match="not a checkpoint of mapdrop"):
        Checkpoint.read(path)


def test_any_flipped_bit_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path, (stage, trainer) = tmp_path / "a.safetensors", stepped(3)
    Checkpoint.of(stage, trainer, {"note": 1.25}).write(path)
    whole, saved = path.read_bytes(), Checkpoint.read(path)
    for place in random.Random(0).sample(range(len(whole)), 300):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            found = Checkpoint.read(path)
        except RunError:
            continue
        # Only a damaged name of the digest goes unnoticed, as the guarded data is intact.
        assert found.metadata.pop("digest", None) is None
        assert {k: v for k, v in found.metadata.items() if len(k) != 6} == saved.metadata
        torch.testing.assert_close(found.tensors, saved.tensors, rtol=0, atol=0)


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """Such a checkpoint has no digest."""
    text = json.dumps({"format": 1, "note": 2})
    (tmp_path / "a").write_bytes(save({"model.x": torch.arange(3.0)}, {"mapdrop": text}))
    found = Checkpoint.read(tmp_path / "a")
    assert found.metadata["note"] == 2
    torch.testing.assert_close(found.tensors, {"model.x": torch.arange(3.0)})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_reported(tmp_path: Path, value: float) -> None:
    Checkpoint({"model.x": torch.tensor([1.0, value])}, {}).write(tmp_path / "a")
    with pytest.raises(RunError, match=r"not finite, in model\.x; train again"):
        Checkpoint.read(tmp_path / "a")


def test_a_pipe_instead_of_a_file_is_reported(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for path in (folder.best, folder.record):
        os.mkfifo(path)
    with pytest.raises(RunError, match="not a regular file"):
        Checkpoint.read(folder.best)
    with pytest.raises(RunError, match="not a regular file"):
        folder.read_record()


def test_another_networks_checkpoint_is_reported(tmp_path: Path) -> None:
    Checkpoint.of(nn.Linear(2, 2), None, {}).write(tmp_path / "a")
    with pytest.raises(RunError, match="of another network"):
        Checkpoint.read(tmp_path / "a").restore(Squares())


def test_another_format_is_refused(tmp_path: Path) -> None:
    Checkpoint.of(nn.Linear(2, 2), None, {"format": 2}).write(tmp_path / "a")
    with pytest.raises(RunError, match="not of format 1"):
        Checkpoint.read(tmp_path / "a")
    folder = Folder(tmp_path)
    write(folder.record, json.dumps({"format": 2}).encode())
    with pytest.raises(RunError, match="not of format 1"):
        folder.read_record()


def test_a_file_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    write(path, b"first")

    def fails(descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="full"):
        write(path, b"second")
    assert path.read_bytes() == b"first"


SETTINGS = Settings(
    DataSettings("somewhere", ("a", "b"), (64, 48), 40, 0.2, 3),
    NetworkSettings(8, 3, 4, "block", 0.2, 3, ("head", "banks"), False),
    TrainingSettings(seed=2, augment=Augment(1, 2, 1.5, 0.5), flip=False, precision="bfloat16"),
)


def test_settings_survive_json() -> None:
    again = Settings.from_json(json.loads(json.dumps(SETTINGS.to_json())))
    assert again == SETTINGS
    assert again != Settings(DataSettings("somewhere"))
    assert Settings.from_json(Settings(DataSettings("x")).to_json()).data.joints is None


def test_differences_are_named() -> None:
    network = replace(SETTINGS.network, drop_at=("head",))
    other = replace(SETTINGS, network=network, data=replace(SETTINGS.data, source="elsewhere"))
    assert SETTINGS.differences(SETTINGS) == []
    assert SETTINGS.differences(other) == ["drop-at ('head',) instead of ('head', 'banks')"]


def test_damaged_records_are_reported(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no run: there is no run\.json"):
        TrainedModel.load(tmp_path, torch.device("cpu"))
    Folder(tmp_path).record.write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="can't be read"):
        TrainedModel.load(tmp_path, torch.device("cpu"))
    for values in ({}, {"settings": {"data": 3}}, {"settings": SETTINGS.to_json()}):
        Folder(tmp_path).write_record(values)
        with pytest.raises(RunError, match="can't be read"):
            Record.from_json(Folder(tmp_path).read_record())


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (NetworkSettings, {"rate": 1.0}, "rate must be at least 0 and below 1, got 1"),
        (NetworkSettings, {"drop": "half"}, "there is no dropout 'half'"),
        (NetworkSettings, {"pooling": 5}, "pooling must be one of"),
        (NetworkSettings, {"drop_at": ("tail",)}, "got 'tail'"),
        (TrainingSettings, {"coarse": 0}, "coarse must be at least 1"),
        (TrainingSettings, {"patience": -1}, "patience must not be negative"),
        (TrainingSettings, {"precision": "int8"}, "precision must be one of"),
        (DataSettings, {"source": "x", "train_size": 1}, "at least 2 images"),
        (DataSettings, {"source": "x", "validation": 0.0}, "between 0 and 1"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_invalid_settings_are_refused(kind: type, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**wrong)


def test_a_networks_weights_depend_on_its_seed_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (NetworkSettings(width=2).build(2, seed) for seed in (5, 5, 6))
    torch.testing.assert_close(one.state_dict(), same.state_dict(), rtol=0, atol=0)
    name = "coarse.head.0.weight"
    assert (one.state_dict()[name] != other.state_dict()[name]).any()
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)

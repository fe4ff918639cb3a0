"""The contents of an untrusted run.json and checkpoint are checked before they are used."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mapdrop.localize.augment import Augment
from mapdrop.localize.run.checkpoint import Checkpoint
from mapdrop.localize.run.folder import Folder, RunError
from mapdrop.localize.run.process_group import ProcessGroup
from mapdrop.localize.run.record import Record
from mapdrop.localize.run.settings import (
    DataSettings,
    NetworkSettings,
    Settings,
    TrainingSettings,
)
from mapdrop.localize.run.start import start_run
from mapdrop.localize.run.trained import TrainedModel
from tests.localize import spots

ALONE = ProcessGroup(torch.device("cpu"))
Json = dict[str, Any]


class StoppedError(Exception):
    """Simulates a kill."""


def settings(data: Path) -> Settings:
    return Settings(
        DataSettings(str(data), size=spots.SIZE, validation=0.25),
        NetworkSettings(width=2, banks=1),
        TrainingSettings(coarse=4, fine=2, joint=2, batch=2, every=2, augment=Augment(2, 20)),
    )


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run that was stopped after two steps."""

    def stop(stage: str, step: int, row: Any) -> None:
        if step == 2:
            raise StoppedError

    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.raises(StoppedError):
        start_run(Folder(folder), settings(data), False, ALONE, on_step=stop).execute()
    return folder


@pytest.fixture
def record(run: Path) -> Json:
    return Folder(run).read_record()


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Folder:
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return Folder(tmp_path)


def test_the_record_itself_is_read(record: Json, run: Path) -> None:
    found = Record.from_json(record)
    assert json.loads(json.dumps(found.to_json())) == {
        k: v for k, v in record.items() if k != "format"
    }
    assert found.costs is not None
    assert TrainedModel.load(run, torch.device("cpu")).joints == spots.JOINTS


def changed(*path: str | int, to: Any) -> Callable[[Json], None]:
    def change(record: Any) -> None:
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = to

    return change


def renamed(*path: str) -> Callable[[Json], None]:
    def rename(record: Any) -> None:
        for name in path[:-1]:
            record = record[name]
        record["other"] = record.pop(path[-1])

    return rename


WRONG = {
    "banks": (
        changed("settings", "network", "banks", to=10**6),
        "banks must be 1 to 5, got 1000000",
    ),
    "width": (changed("settings", "network", "width", to=10**6), "width must be 1 to 512"),
    "block": (changed("settings", "network", "block_size", to=10**9), "block_size must be 1 to"),
    "threads": (changed("threads", to=10**9), "threads should be 1 to 1024, not 1000000000"),
    "no thread": (changed("threads", to=0), "threads should be 1 to 1024, not 0"),
    "seed": (changed("settings", "training", "seed", to=-1), "a seed must be 0 to"),
    "rate": (changed("settings", "network", "rate", to="x"), "rate should be a finite number"),
    "rate NaN": (
        changed("settings", "network", "rate", to=float("nan")),
        "rate should be a finite",
    ),
    "a key of costs": (renamed("costs", "flops"), "costs has the unknown 'other'"),
    "costs": (changed("costs", "flops", to="fast"), "costs.flops should be a finite number"),
    "costs 0": (changed("costs", "weights", to=0), "costs should be positive"),
    "costs list": (changed("costs", to=[1]), "costs should be an object"),
    "size": (changed("data", "size", to=[10**9, 10**9]), "sides of images must be 16 to 4096"),
    "sides": (changed("data", "size", to=[64]), "data.size should be 2 values, not 1"),
    "joints": (changed("data", "joints", to=["a"] * 2), "joints need different names"),
    "no joints": (changed("data", "joints", to=[]), "1 to 1000 named joints"),
    "many joints": (
        changed("data", "joints", to=list(map(str, range(10**5)))),
        "1 to 1000 named joints",
    ),
    "joint": (changed("data", "joints", to=[1, 2]), r"data.joints\[0\] should be text, not 1"),
    "swaps": (changed("data", "swaps", to=[0, 0]), "swaps should name each joint once"),
    "radii": (changed("data", "radii", to=[2, 1]), "radii should be positive and ascending"),
    "seen": (renamed("seen", "train"), "seen should have train and validation"),
    "digests": (changed("seen", "train", to=[1]), r"seen.train\[0\] should be text"),
    "bool": (changed("settings", "network", "banks", to=True), "banks should be an integer"),
    "missing": (lambda record: record.pop("data"), "it has no 'data'"),
    "drop": (changed("settings", "network", "drop", to="\x1b[2J"), "there is no dropout"),
    "learning rate": (changed("settings", "training", "learning_rate", to=0), "must be positive"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_record_is_reported(
    copied: Folder, record: Json, change: Callable[[Json], Any], message: str
) -> None:
    change(record)
    copied.record.write_text(json.dumps(record))
    with pytest.raises(RunError, match=message):
        TrainedModel.load(copied.path, torch.device("cpu"))


def places(value: Any) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value of some JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        yield (name,)
        if isinstance(item, dict | list):
            yield from ((name, *rest) for rest in places(item))


@pytest.mark.parametrize(
    "odd", [None, -1, 0, 10**30, -1e300, "x", [], {}, True, [[]]], ids=lambda value: str(value)
)
def test_any_value_of_a_record_may_be_anything(record: Json, odd: Any) -> None:
    refused = 0
    for place in places(record):
        other = copy.deepcopy(record)
        changed(*place, to=odd)(other)
        try:
            Record.from_json(other).model()
        except RunError:
            refused += 1
    assert refused > 20


WRONG_STATES: dict[str, tuple[Callable[[Json], Any], str]] = {
    "no progress": (
        lambda about: about.pop("progress"),
        "no valid state of this run: it should be",
    ),
    "stage": (changed("progress", "stage", to=9), "no step 2 of stage 9"),
    "step": (changed("progress", "step", to=-1), "no step -1 of stage 0"),
    "late": (changed("progress", "step", to=10**9), "no step 1000000000"),
    "text": (changed("progress", "best", to="x"), "progress: best should be a finite|best should"),
    "row": (changed("progress", "log", to=[{}]), "log has no 'stage'"),
    "row stage": (changed("progress", "log", 0, "stage", to="x"), "no stage 'x'"),
    "row loss": (changed("progress", "log", 0, "loss", to=[]), "log.loss should be"),
    "schedule": (renamed("trainer", "schedule", "total_steps"), "of another training"),
    "function": (changed("trainer", "schedule", "_anneal_func_type", to=1), "of another training"),
    "groups": (changed("trainer", "groups", to=[]), "of another training"),
    "trainer": (changed("trainer", to=3), "of another training"),
}


@pytest.mark.parametrize(("change", "message"), WRONG_STATES.values(), ids=WRONG_STATES)
def test_a_wrong_checkpoint_is_reported(
    copied: Folder, data: Path, change: Callable[[Json], Any], message: str
) -> None:
    saved = Checkpoint.read(copied.last)
    change(saved.metadata)
    saved.write(copied.last)
    with pytest.raises(RunError, match=message):
        start_run(copied, settings(data), True, ALONE).execute()


def test_moments_of_another_shape_are_reported(copied: Folder, data: Path) -> None:
    saved = Checkpoint.read(copied.last)
    name = next(name for name in saved.tensors if name.endswith("exp_avg"))
    saved.tensors[name] = torch.zeros(3)
    saved.write(copied.last)
    with pytest.raises(RunError, match="of another training"):
        start_run(copied, settings(data), True, ALONE).execute()


def test_the_best_weights_are_of_a_stage(copied: Folder) -> None:
    best = Checkpoint.read(copied.best)
    best.metadata["stage"] = ["coarse"]
    best.write(copied.best)
    with pytest.raises(RunError, match="of the unknown stage"):
        TrainedModel.load(copied.path, torch.device("cpu"))


def test_heat_maps_that_are_not_finite_are_reported(copied: Folder, data: Path) -> None:
    """Weights may be finite, but huge."""
    best = Checkpoint.read(copied.best)
    for name, tensor in best.tensors.items():
        if name.endswith("weight"):
            best.tensors[name] = tensor * 0 + 1e38
    best.write(copied.best)
    trained = TrainedModel.load(copied.path, torch.device("cpu"))
    images = torch.randint(0, 255, (1, spots.SIZE[1], spots.SIZE[0], 3), dtype=torch.uint8)
    with pytest.raises(RunError, match="heat maps are not finite"):
        trained.locate(images.numpy())

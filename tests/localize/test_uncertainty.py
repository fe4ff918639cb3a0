"""`mapdrop localize predict --uncertainty`: each joint's spread over passes with dropout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner, Result

import mapdrop
from mapdrop.cli import app
from mapdrop.localize.data.image_files import letterbox
from mapdrop.localize.run.trained import TrainedModel
from tests.localize import spots

PASSES = 6
SMALL = (32, 24)  # Half of the images' sides.


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["localize", "predict", *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spots.write(tmp_path_factory.mktemp("spots"), 5)


@pytest.fixture(scope="module", params=[False, True], ids=["coarse", "cascade"])
def run(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return spots.untrained(folder, data, drop="spatial", size=SMALL, cascade=request.param)


def spreads(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Read a table of spreads: by image or frame, one number for each joint."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[2] == "coords,spread,spread"
    rows = [line.split(",") for line in lines[3:]]
    return {name: np.array(row, float) for name, *row in rows}


def expected(run: Path, images: list[Path]) -> npt.NDArray[np.float64]:
    """Return the spreads of passes of the network alone, in the images' own pixels."""
    trained = TrainedModel.load(run, torch.device("cpu"))
    # What the seeds of passes are does not depend on the model.
    seeds = mapdrop.torch.predict(nn.Dropout(0.5), torch.ones(1, 9), PASSES, seed=0).seeds
    pictures = [Image.open(image).convert("RGB") for image in images]
    working, scales = zip(*(letterbox(p, SMALL) for p in pictures), strict=True)
    assert set(scales) == {2.0}
    inputs = trained._normalised(np.stack(working))
    for module in trained.model.modules():
        if isinstance(module, mapdrop.torch.SpatialDropout2d):
            module.train()
            module.source = None  # A run's network is seeded; passes have seeds of their own.
    found = []
    for seed in seeds:
        torch.manual_seed(seed)
        with torch.no_grad():
            found.append(trained.model.locate(inputs).points)
    std = torch.stack(found).double().std(0)
    return (2 * std.square().sum(-1).sqrt()).numpy()


def test_spreads_are_those_of_the_network_alone(run: Path, data: Path, tmp_path: Path) -> None:
    done = predict(run, data, "--out", tmp_path, "--uncertainty", PASSES, "--no-overlay")
    assert done.exit_code == 0, done.output
    assert "spread.csv" in done.output
    found = spreads(tmp_path / "spread.csv")
    images = sorted(data.glob("*.png"))
    assert [Path(name) for name in found] == images
    values = np.array(list(found.values()))
    assert (values > 0.1).all()
    np.testing.assert_allclose(values, expected(run, images), atol=1e-3)


def test_points_and_tables_are_what_they_are_without(run: Path, data: Path, tmp_path: Path) -> None:
    for name, more in (("plain", ()), ("spread", ("--uncertainty", PASSES))):
        done = predict(run, data, "--out", tmp_path / name, *more)
        assert done.exit_code == 0, done.output
    plain, wide = (
        (tmp_path / name / "predictions.csv").read_bytes() for name in ("plain", "spread")
    )
    assert plain == wide
    assert not (tmp_path / "plain" / "spread.csv").exists()
    drawn = sorted((tmp_path / "spread" / "overlays").iterdir())
    assert len(drawn) == 5
    others = [(tmp_path / "plain" / "overlays" / path.name).read_bytes() for path in drawn]
    assert [path.read_bytes() for path in drawn] != others


def test_a_video_has_a_table_of_its_own(run: Path, data: Path, tmp_path: Path) -> None:
    film = spots.film(tmp_path / "cam0.mp4", sorted(data.glob("*.png")))
    done = predict(run, film, "--out", tmp_path / "out", "--uncertainty", 3)
    assert done.exit_code == 0, done.output
    assert list(spreads(tmp_path / "out" / "cam0.mp4-spread.csv")) == ["0", "1", "2", "3", "4"]
    again = predict(run, film, "--out", tmp_path / "out", "--uncertainty", 3)
    assert again.exit_code == 1
    assert "exist already" in again.output


def test_a_network_without_dropout_has_no_spread(data: Path, tmp_path: Path) -> None:
    run = spots.untrained(tmp_path / "run", data)
    done = predict(run, data, "--out", tmp_path / "out", "--uncertainty", 5)
    assert done.exit_code == 1
    assert "draws no random numbers" in done.output.replace("\n", " ")
    assert "train with --drop spatial" in done.output.replace("\n", " ")
    assert not isinstance(done.exception, ValueError)


def test_one_pass_is_refused(run: Path, data: Path, tmp_path: Path) -> None:
    done = predict(run, data, "--out", tmp_path, "--uncertainty", 1)
    assert done.exit_code == 2

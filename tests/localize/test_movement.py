"""Predictions load in movement, a package for the analysis of poses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mapdrop.cli import app
from tests.conftest import framework
from tests.localize import spots


@pytest.fixture(scope="module")
def load_poses(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        # It keeps a log in the user's folder.
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        framework("movement")
        return framework("movement.io.load_poses")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predict four images, and a video of three."""
    root = tmp_path_factory.mktemp("run")
    images = spots.write(root / "images", 4)
    film = spots.film(root / "clip.mp4", sorted(images.glob("*.png"))[:3])
    run = spots.untrained(root / "run", images)
    arguments = [run, images, film, "--out", root / "found", "--no-overlay"]
    done = CliRunner().invoke(app, ["localize", "predict", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return root / "found"


def check(poses: Any, table: Path) -> None:
    expected = np.stack(list(spots.table(table).values()))
    assert len(expected) >= 3
    assert poses.keypoints.values.tolist() == list(spots.JOINTS)
    assert poses.individuals.values.tolist() == ["individual_0"]
    assert poses.time.values.tolist() == list(range(len(expected)))
    order = ("time", "keypoints", "individuals")
    positions = poses.position.transpose(*order, "space").sel(space=["x", "y"])
    np.testing.assert_array_equal(positions.values[:, :, 0], expected[..., :2])
    np.testing.assert_array_equal(
        poses.confidence.transpose(*order).values[:, :, 0], expected[..., 2]
    )


def test_the_table_of_a_video_loads(load_poses: Any, results: Path) -> None:
    check(load_poses.from_dlc_file(results / "clip.mp4.csv"), results / "clip.mp4.csv")


def test_the_table_of_images_loads_through_pandas(load_poses: Any, results: Path) -> None:
    """Its rows have names, by which movement's own reader refuses it: they are no times."""
    table = results / "predictions.csv"
    with pytest.raises(ValueError, match="header rows do not match"):
        load_poses.from_dlc_file(table)
    read = pd.read_csv(table, header=[0, 1, 2], index_col=0)
    assert set(read.columns.get_level_values("scorer")) == {"mapdrop"}
    check(load_poses.from_dlc_style_df(read), table)


def test_a_frame_without_points_has_none(load_poses: Any, results: Path, tmp_path: Path) -> None:
    lines = (results / "clip.mp4.csv").read_text().splitlines()
    lines[3] = "0,,,,,,"
    (tmp_path / "clip.csv").write_text("\n".join(lines) + "\n")
    poses = load_poses.from_dlc_file(tmp_path / "clip.csv")
    assert np.isnan(poses.position.sel(time=0)).all()
    assert not np.isnan(poses.position.sel(time=[1, 2])).any()

"""`mapdrop localize evaluate`: what is measured of each joint, and what has no labels."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner, Result

from mapdrop.cli import app
from mapdrop.localize import contact_sheet, overlay
from mapdrop.localize.contact_sheet import shortened
from mapdrop.localize.evaluation import Evaluation, plot, worst_sheet
from mapdrop.localize.evaluation.difficulty import hardest_first, worst_images
from mapdrop.localize.evaluation.files import NAMES, write
from mapdrop.localize.metrics import pixel_errors
from mapdrop.localize.predictions import Predictions
from mapdrop.localize.results import ResultFolder
from mapdrop.localize.run.folder import RunError
from mapdrop.localize.run.images import LabelledImages
from mapdrop.localize.run.trained import TrainedModel
from tests.localize import spots

COUNT = 6
Points = Any


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = spots.write(tmp_path_factory.mktemp("trained"))
    return spots.untrained(tmp_path_factory.mktemp("runs") / "run", data)


def evaluate(run: Path, data: Path, out: Path, *arguments: str) -> Result:
    command = ["localize", "evaluate", run, data, "--out", out, *arguments]
    return CliRunner().invoke(app, [*map(str, command)])


def labelled(folder: Path, keeps: Callable[[int, str], bool]) -> Path:
    """Write a data set in which only some joints of some images are labelled."""
    path = spots.write(folder, COUNT, seed=1) / "points.csv"
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines[1:], start=1):
        name, joint, *_ = line.split(",")
        if not keeps(int(Path(name).stem), joint):
            lines[number] = f"{name},{joint},,"
    path.write_text("\n".join(lines) + "\n")
    return folder


def metrics(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def errors(out: Path) -> list[dict[str, str]]:
    with (out / "errors.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def never_locates(*_: object) -> None:
    raise AssertionError("the network ran before the labels were checked")


# --- What has no labels.


def test_a_joint_without_labels_has_no_metrics(run: Path, tmp_path: Path) -> None:
    data = labelled(tmp_path / "data", lambda image, joint: joint == "left")
    done = evaluate(run, data, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "no labels, so no metrics: right\n" in done.output
    (line,) = (line.split() for line in done.output.splitlines() if line.startswith(" right "))
    assert line == ["right", "0", *["-"] * 8]
    found = metrics(tmp_path / "out")
    assert {values["right"] for values in found["figures"].values()} == {None}
    assert all(values["left"] == values["total"] for values in found["figures"].values())
    assert [row["joint"] for row in found["ranking"]] == ["left", "right"]
    assert found["ranking"][1]["worst image"] is None
    rows = [row for row in errors(tmp_path / "out") if row["joint"] == "right"]
    assert len(rows) == COUNT
    assert {row["error"] + row["x_true"] + row["y_true"] + row["nearest"] for row in rows} == {""}
    assert all(float(row["x_found"]) >= 0 for row in rows)


def test_the_legend_says_which_joint_has_no_labels() -> None:
    evaluation = evaluated([[[5, 5], [9, 9]]], [[[5, 5], [np.nan, np.nan]]])
    axis = Figure().subplots()
    plot.plot_curves(axis, evaluation)
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b (no labels)", "all"]


@pytest.mark.parametrize("both", [0, 4], ids=["no image has both", "some images have both"])
def test_only_images_with_both_joints_are_normalised(
    both: int, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = labelled(
        tmp_path / "data", lambda image, joint: image < both or (joint == "left") == (image % 2)
    )
    out = tmp_path / "out"
    if not both:
        monkeypatch.setattr(TrainedModel, "locate", never_locates)
        done = evaluate(run, data, out, "--normalise", "left,right")
        assert done.exit_code == 1
        assert isinstance(done.exception, SystemExit)
        assert "left and right can't normalise: of the 6 images" in done.output
        assert not out.exists()
        return
    done = evaluate(run, data, out, "--normalise", "left,right")
    assert done.exit_code == 0, done.output
    assert "left out of pck 0.2 left-right: 2 of 6 images" in done.output
    assert "Images are split at random: if they are frames of one video" in done.output
    hits = []
    rows = {(Path(row["image"]).name, row["joint"]): row for row in errors(out)}
    for name in (f"{number:03}.png" for number in range(both)):
        pair = [rows[name, joint] for joint in spots.JOINTS]
        places = [(float(row["x_true"]), float(row["y_true"])) for row in pair]
        length = math.dist(*places)
        hits += [float(row["error"]) <= 0.2 * length for row in pair]
    share = metrics(out)["figures"]["pck 0.2 left-right"]["total"]
    assert share == pytest.approx(sum(hits) / len(hits))


def test_images_without_any_label_are_refused_before_the_network_runs(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = TrainedModel.load(run, torch.device("cpu"))
    monkeypatch.setattr(TrainedModel, "locate", never_locates)
    with pytest.raises(
        RunError, match=r"none of the 2 images of test .* has one of .*\(left, right\)"
    ):
        Evaluation.of(trained, images(np.full((2, 2, 2), np.nan), spots.JOINTS))


@pytest.mark.parametrize("empty", [[1], [0, 2]], ids=["one of three", "all but one"])
def test_an_image_without_labels_has_no_error(empty: list[int], tmp_path: Path) -> None:
    truth = np.full((3, 2, 2), 20.0)
    truth[empty] = np.nan
    evaluation = evaluated(np.full((3, 2, 2), 23.0), truth)
    write(evaluation, ResultFolder(tmp_path, tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)
    assert f"without any label: {len(empty)} of 3 images" in evaluation.remarks()
    found = metrics(tmp_path)
    assert found["joints"] == 2 * (3 - len(empty))
    assert found["figures"]["max error px"]["total"] == pytest.approx(math.hypot(3, 3))


# --- Which joints are hard, in which images.


def images(truth: Points, joints: Sequence[str], scale: float = 1.0) -> LabelledImages:
    """Return black images with these labels, in original pixels."""
    points = np.asarray(truth, np.float64)
    count = len(points)
    return LabelledImages(
        name="test",
        joints=tuple(joints),
        images=np.zeros((count, 48, 64, 3), np.uint8),
        points=(points + 0.5) / scale - 0.5,
        scale=np.full(count, scale),
        sizes=np.full((count, 2), 0),
        image_names=tuple(f"session/{number:03}.png" for number in range(count)),
        radii=(10.0, 20.0),
        unit="pixels",
        limits="",
    )


def evaluated(found: Points, truth: Points, joints: Sequence[str] = ("a", "b")) -> Evaluation:
    """Return an evaluation in which these points were found."""
    points, truth = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    of = images(truth, joints)
    likelihood = np.full(points.shape[:2], 0.5)
    predictions = Predictions(tuple(joints), of.image_names, points, likelihood)
    return Evaluation(of, predictions, truth, None, None)


def test_the_hardest_joint_is_the_one_that_is_sometimes_far_off() -> None:
    """Its median is lower."""
    truth = np.full((10, 2, 2), 20.0)
    found = truth.copy()
    found[:, 0, 0] += 5
    found[:, 1, 0] += [1, 1, 1, 1, 30, 1, 1, 1, 1, 40]
    evaluation = evaluated(found, truth)
    first, second = evaluation.ranking()
    assert (first["joint"], second["joint"]) == ("b", "a")
    assert (first["labels"], first["worst image"]) == (10, "session/009.png")
    assert (first["median error px"], first["max error px"]) == (1, 40)
    assert (first["p90 error px"], first["pck 10 px"]) == (30, 0.8)
    assert worst_images(evaluation.errors, 1)[:2] == [9, 4]


def test_a_percentile_is_one_of_the_errors() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((17, 2, 2))
    truth[rng.permutation(17)[:4], 1] = np.nan
    of = pixel_errors(rng.normal(0, 9, truth.shape), truth, ["a", "b"])
    for number, joint in enumerate(of.joints):
        ordered = sorted(far for far in of.distances[:, number] if far == far)
        for percent in (10, 50, 90, 100):
            expected = ordered[math.ceil(percent / 100 * len(ordered)) - 1]
            assert of.percentile(percent)[joint] == expected


def test_a_point_that_was_not_found_is_no_failure_of_the_percentile() -> None:
    nan = [np.nan, np.nan]
    found = np.array([[[1, 0], nan], [[2, 0], nan]])
    errors = pixel_errors(found, np.zeros((2, 2, 2)), ["a", "b"])
    assert errors.percentile(90) == {"a": 2, "b": np.inf, "total": np.inf}
    assert hardest_first(errors) == [1, 0]


def test_errors_are_listed_by_size(run: Path, tmp_path: Path) -> None:
    data = labelled(tmp_path / "data", lambda image, joint: (image, joint) != (2, "left"))
    done = evaluate(run, data, tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = errors(tmp_path / "out")
    assert len(rows) == 2 * COUNT
    table = spots.table(tmp_path / "out" / "predictions.csv")
    truth = {}
    for line in (data / "points.csv").read_text().splitlines()[1:]:
        name, joint, x, y = line.split(",")
        truth[name, joint] = float(x or "nan"), float(y or "nan")
    for row in rows[:-1]:
        x, y, likelihood = table[row["image"]][spots.JOINTS.index(row["joint"])]
        found = float(row["x_found"]), float(row["y_found"])
        assert (*found, float(row["likelihood"])) == (x, y, likelihood)
        far = math.dist(found, truth[Path(row["image"]).name, row["joint"]])
        assert float(row["error"]) == pytest.approx(far, abs=2e-4)
    sizes = [float(row["error"]) for row in rows[:-1]]
    assert sizes == sorted(sizes, reverse=True)
    assert (Path(rows[-1]["image"]).name, rows[-1]["joint"], rows[-1]["error"]) == (
        "002.png",
        "left",
        "",
    )


def test_exchanged_labels_are_told(tmp_path: Path) -> None:
    """Image 1 has its ears labelled the wrong way round; image 2 has only one of them."""
    truth = np.array([[[10, 10], [30, 10]], [[30, 12], [10, 12]], [[10, 10], [np.nan, np.nan]]])
    found = np.array([[[11, 10], [29, 10]], [[11, 12], [28, 12]], [[29, 10], [29, 10]]])
    evaluation = evaluated(found, truth, ("leftear", "rightear"))
    write(evaluation, ResultFolder(tmp_path, tmp_path))
    named = {(row["image"], row["joint"]): row["nearest"] for row in errors(tmp_path)}
    assert {key: other for key, other in named.items() if other} == {
        ("session/001.png", "leftear"): "rightear",
        ("session/001.png", "rightear"): "leftear",
    }
    (remark,) = evaluation.remarks()
    assert remark == (
        "nearer to another joint's label than to their own: 2 of 5 points; most often "
        "leftear at rightear (1), rightear at leftear (1)"
    )


# --- The sheet.


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Return the mean place (x, y) of a colour."""
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize("scale", [1.0, 4.0], ids=["as large", "four times as large"])
@pytest.mark.parametrize("place", [(50, 9), (3, 44)], ids=["inside", "at the edge"])
def test_marks_are_where_the_image_has_the_joint(place: tuple[int, int], scale: float) -> None:
    """The image has a bright square there, larger than the marks."""
    x, y = place
    point = (np.array([place], np.float64) + 0.5) * scale - 0.5
    of = images([point], ["a"], scale)
    of.images[0, max(0, y - 4) : y + 5, max(0, x - 4) : x + 5] = 255
    predictions = Predictions(("a",), of.image_names, point[None], np.ones((1, 1)))
    sheet = worst_sheet.draw(Evaluation(of, predictions, point[None], None, None))
    top = 3 * (contact_sheet.LINE + contact_sheet.MARGIN) + 2 * contact_sheet.MARGIN
    left = contact_sheet.MARGIN
    picture = np.asarray(sheet)[top : top + 195, left : left + contact_sheet.WIDTH]
    bright = np.argwhere((picture > 128).any(axis=-1))[:, ::-1]
    low, high = bright.min(axis=0), bright.max(axis=0)
    ends = [(max(0, c - 4), min(side, c + 5)) for c, side in zip(place, (64, 48), strict=True)]
    dot = where(picture, overlay.colours(1)[0])
    for axis, (start, end) in enumerate(ends):
        share = (place[axis] + 0.5 - start) / (end - start)
        assert dot[axis] == pytest.approx(low[axis] + share * (high - low)[axis], abs=3)


def test_the_sheet_has_a_row_of_the_worst_for_each_joint() -> None:
    """The second joint is labelled in two of seven images, which are otherwise grey."""
    truth = np.random.default_rng(0).uniform(5, 40, (7, 2, 2))
    truth[2:, 1] = np.nan
    evaluation = evaluated(truth + 3, truth)
    evaluation.labelled.images[:] = 200
    sheet = np.asarray(worst_sheet.draw(evaluation))
    grey = (sheet == 200).all(axis=-1)
    starts = np.flatnonzero(np.diff(grey.sum(axis=1) > contact_sheet.WIDTH // 2, prepend=False))
    cell = contact_sheet.WIDTH + contact_sheet.MARGIN
    rows = [grey[start : start + 20, contact_sheet.MARGIN :] for start in starts[::2]]
    counts = [sum(row[:, n * cell : (n + 1) * cell].any() for n in range(5)) for row in rows]
    assert sorted(counts) == [2, 5]


def test_a_long_name_does_not_reach_the_next_picture() -> None:
    picture = Image.new("RGB", (52, 39), "red")
    sheet = np.asarray(contact_sheet.contact_sheet([(picture, "a long name" * 30)] * 3))
    cell, margin = contact_sheet.WIDTH + contact_sheet.MARGIN, contact_sheet.MARGIN
    for column in range(4):
        assert (sheet[:, column * cell : column * cell + margin] == 255).all()


@pytest.mark.parametrize("text", ["short.png", "x" * 300, ""], ids=["short", "long", "empty"])
def test_text_is_shortened_in_its_middle(text: str) -> None:
    from PIL import ImageFont

    name = f"start{text}end.png"
    shown = shortened(name, 150)
    assert ImageFont.load_default(contact_sheet.TEXT).getlength(shown) <= 150
    assert shown.startswith("start")
    assert shown.endswith("end.png")
    assert ("…" in shown) is (len(text) == 300)


def test_a_tall_picture_stays_in_its_cell() -> None:
    tall = Image.new("RGB", (20, 600), "red")
    sheet = contact_sheet.contact_sheet([(tall, "tall")])
    assert sheet.height < contact_sheet.HEIGHT + 60

"""The command line of `mapdrop localize`."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mapdrop.cli import app
from mapdrop.localize.run.folder import Folder
from tests.localize import spots

SIZE = ["--size", "64x48"]
SHORT = [*SIZE, "--width", "4", "--pooling", "4", "--banks", "1", "--drop", "none", "--no-flip"]
STEPS = ["--coarse-steps", "80", "--fine-steps", "50", "--joint-steps", "10", "--every", "20"]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def mapdrop(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["localize", *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spots.write(tmp_path_factory.mktemp("spots"), 20)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    done = mapdrop("train", data, "--out", out, "--train-size", 12, *SHORT, *STEPS)
    assert done.exit_code == 0, done.output
    assert "11 training and 1 validation images of 64x48 pixels, 2 joints" in done.output
    assert f"next: mapdrop localize evaluate {out}" in done.output
    assert all(path.exists() for path in (Folder(out).best, Folder(out).last, Folder(out).curves))
    return out


def test_evaluation_leaves_out_what_was_trained_on(run: Path, data: Path) -> None:
    done = mapdrop("evaluate", run, data, "--normalise", "left,right")
    assert done.exit_code == 0, done.output
    assert "8 images never trained on; 12 left out" in done.output
    found = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert (found["images"], found["joints"]) == (8, 16)
    assert found["figures"]["median error px"]["total"] < 3
    assert found["figures"]["pck 10 px"]["total"] > 0.6
    assert 0 <= found["figures"]["pck 0.2 left-right"]["total"] <= 1
    assert pixels(run / "evaluation" / "evaluation.png").shape[1] > 800


def test_an_evaluation_on_training_images_is_refused(run: Path, tmp_path: Path) -> None:
    few = spots.write(tmp_path / "few", 20)
    record = Folder(run).read_record()
    from mapdrop.localize.run.images import load_test

    every = load_test(str(few), spots.JOINTS, spots.SIZE)
    seen = {digest for part in record["seen"].values() for digest in part}
    names = {
        Path(owner).name
        for owner, digest in zip(every.image_names, every.digests(), strict=True)
        if digest not in seen
    }
    assert len(names) == 8
    lines = (few / "points.csv").read_text().splitlines()
    kept = [line for line in lines if line.split(",")[0] not in names]
    (few / "points.csv").write_text("\n".join(kept) + "\n")
    done = mapdrop("evaluate", run, few)
    assert done.exit_code == 1
    assert "all 12 labelled images" in done.output


def table(path: Path) -> tuple[list[list[str]], dict[str, np.ndarray]]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return rows[:3], {row[0]: np.array(row[1:], float).reshape(-1, 3) for row in rows[3:]}


def test_predictions_are_deeplabcuts_table_and_images(
    run: Path, data: Path, tmp_path: Path
) -> None:
    names = [f"{number:03}.png" for number in (3, 1, *range(4, 14))]
    done = mapdrop("predict", run, *(data / name for name in names), "--out", tmp_path)
    assert done.exit_code == 0, done.output
    header, rows = table(tmp_path / "predictions.csv")
    assert header == [
        ["scorer", *["mapdrop"] * 6],
        ["bodyparts", "left", "left", "left", "right", "right", "right"],
        ["coords", *["x", "y", "likelihood"] * 2],
    ]
    assert list(rows) == [str(data / name) for name in names]
    truth = {}
    for line in (data / "points.csv").read_text().splitlines()[1:]:
        name, joint, x, y = line.split(",")
        truth[name, joint] = float(x), float(y)
    far = [
        np.hypot(*np.subtract((x, y), truth[Path(path).name, joint]))
        for path, values in rows.items()
        for joint, (x, y, _) in zip(spots.JOINTS, values, strict=True)
    ]
    assert np.median(far) < 2
    assert all(((values[:, 2] >= 0) & (values[:, 2] <= 1)).all() for values in rows.values())
    drawn = pixels(tmp_path / "overlays" / "003.png.png")
    assert drawn.shape == (48, 64, 3)
    assert (drawn != pixels(data / "003.png")).any()


def test_a_folder_is_all_its_images_in_their_own_pixels(
    run: Path, data: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    for number in range(3):
        (large / str(number % 2)).mkdir(parents=True, exist_ok=True)
        with Image.open(data / f"{number:03}.png") as picture:
            picture.resize((192, 144)).save(large / str(number % 2) / f"{number}.jpg")
    done = mapdrop("predict", run, large / "0", large / "1", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    _, rows = table(tmp_path / "out" / "predictions.csv")
    assert [Path(path).name for path in rows] == ["0.jpg", "2.jpg", "1.jpg"]
    assert (tmp_path / "out" / "overlays" / "1" / "1.jpg.png").exists()
    mapdrop("predict", run, data / "000.png", "--out", tmp_path / "small", "--no-overlay")
    _, small = table(tmp_path / "small" / "predictions.csv")
    assert not (tmp_path / "small" / "overlays").exists()
    (here,), there = small.values(), next(iter(rows.values()))
    np.testing.assert_allclose(there[:, :2], 3 * here[:, :2] + 1, atol=4)


def test_a_video_has_a_row_for_each_frame(run: Path, data: Path, tmp_path: Path) -> None:
    import av

    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *spots.SIZE, "yuv420p"
        stream.options = {"crf": "1"}
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(pixels(data / f"{number:03}.png"), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    done = mapdrop("predict", run, path, data / "002.png", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    _, rows = table(tmp_path / "out" / "film.mp4.csv")
    assert list(rows) == ["0", "1", "2", "3", "4"]
    _, stills = table(tmp_path / "out" / "predictions.csv")
    np.testing.assert_allclose(rows["2"][:, :2], next(iter(stills.values()))[:, :2], atol=1.5)
    with av.open(str(tmp_path / "out" / "film.mp4-joints.mp4")) as container:
        assert container.streams.video[0].average_rate == 10
        assert len(list(container.decode(video=0))) == 5


def test_all_unreadable_images_are_reported_before_anything_is_done(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_text("no image")
    (tmp_path / "film.mp4").write_text("no film")
    (tmp_path / "empty").mkdir()
    names = ["a.png", "b.png", "film.mp4", "none.mp4", "empty"]
    done = mapdrop("predict", run, *(tmp_path / name for name in names), "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert all(name in done.output for name in names)
    assert "5 problems" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--drop", "half"], "there is no dropout 'half'"),
        (["--learning-rate", "0"], "learning_rate must be positive, got 0"),
        (["--learning-rate", "nan"], "learning_rate must be positive, got nan"),
        (["--learning-rate", "inf"], "learning_rate must be positive, got inf"),
        (["--shift", "inf"], "shift must be a number of pixels"),
        (["--seed", str(1 << 64)], "a seed must be 0 to 2**63 - 1"),
        (["--width", "1000000"], "width must be 1 to 512"),
        (["--drop", "\x1b[2J"], r"there is no dropout '\x1b[2J'"),
        (["--size", "big"], "expected a width and a height"),
        (["--pooling", "7"], "pooling must be one of"),
        (["--rotation", "270"], "rotation must be 0 to 180 degrees"),
        (["--precision", "int8"], "precision must be one of"),
        (["--train-size", "100"], "has 20 images to train and validate on, not 100"),
        (["--bodyparts", "tail"], "tail"),
        (["--device", "abacus"], "there is no device 'abacus' here"),
        (["--flip", "--bodyparts", "left"], "its opposite 'right' is not among"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_reported_without_a_traceback(
    data: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = ["train", data, "--out", tmp_path / "run", *arguments]
    done = mapdrop(*given, *([] if "--size" in arguments else SIZE))
    assert done.exit_code in (1, 2)
    assert isinstance(done.exception, SystemExit)
    assert message in " ".join(done.output.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["", "resume"])
def test_a_new_run_replaces_nothing(data: Path, tmp_path: Path, resume: list[str]) -> None:
    for name in ("log.jsonl", "curves.png", "best.safetensors", "last.safetensors"):
        out = tmp_path / name.partition(".")[0]
        out.mkdir()
        (out / name).write_text("mine")
        done = mapdrop("train", data, "--out", out, *SHORT, *resume)
        assert done.exit_code == 1
        assert f"a new one would replace its {name}" in done.output
        assert (out / name).read_text() == "mine"
        assert [path.name for path in out.iterdir() if path.name != ".lock"] == [name]


def test_an_evaluation_replaces_nothing_without_overwrite(
    run: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "predictions.csv").write_text("mine")
    done = mapdrop("evaluate", run, data, "--out", tmp_path)
    assert done.exit_code == 1
    assert "would replace files that exist already" in done.output
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    done = mapdrop("evaluate", run, data, "--out", tmp_path, "--overwrite")
    assert done.exit_code == 0, done.output
    _, rows = table(tmp_path / "predictions.csv")
    assert len(rows) == 8


def test_an_evaluation_follows_no_link_out_of_a_run(run: Path, data: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(run, theirs, ignore=shutil.ignore_patterns("evaluation"))
    (tmp_path / "mine").mkdir()
    (theirs / "evaluation").symlink_to(tmp_path / "mine", target_is_directory=True)
    done = mapdrop("evaluate", theirs, data, "--overwrite")
    assert done.exit_code == 1
    assert "is a link that leads out of" in done.output
    assert list((tmp_path / "mine").iterdir()) == []


def test_no_link_of_a_lock_is_followed(data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    done = mapdrop("train", data, "--out", tmp_path / "run", *SHORT)
    assert done.exit_code == 1
    assert ".lock is a link" in done.output
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("joint", ["total", ""])
def test_a_joint_that_no_table_could_have_is_reported(tmp_path: Path, joint: str) -> None:
    from tests.localize.data.writers import coco, truth

    coco(tmp_path / "data", truth(), ["nose", joint, "ear", "tail"])
    done = mapdrop("train", tmp_path / "data", "--out", tmp_path / "run", *SHORT)
    assert done.exit_code == 1
    assert f"a joint is called {joint!r}" in done.output
    assert not (tmp_path / "run").exists()


HOSTILE = ("[/]", "$\\frac$", "\x1b[2J\u202ebold", "_hidden")


def test_names_of_joints_are_text_wherever_they_are_shown(tmp_path: Path) -> None:
    """They are never markup, mathematics, terminal commands or hidden lines."""
    from tests.localize.data.writers import coco, truth

    data = tmp_path / "[red]mouse$"
    data.mkdir()
    coco(data, truth(), HOSTILE)
    arguments = [*SHORT, "--coarse-steps", 2, "--no-cascade", "--train-size", 3]
    done = mapdrop("train", data, "--out", tmp_path / "[b]run", *arguments)
    assert done.exit_code == 0, done.output
    assert "[red]mouse$: a coarse network" in done.output
    done = mapdrop(
        "evaluate", tmp_path / "[b]run", data, "--normalise", f"{HOSTILE[0]},{HOSTILE[3]}"
    )
    assert done.exit_code == 0, done.output
    assert "[red]mouse$, 5 images" in done.output
    shown = [line.split()[0] for line in done.output.splitlines() if line.strip()]
    for joint in ("[/]", "$\\frac$", r"\x1b[2J\u202ebold", "_hidden", "total"):
        assert joint in shown
    assert "[/]-_hidden" in done.output
    assert not set("\x1b\u202e") & set(done.output)
    done = mapdrop("predict", tmp_path / "[b]run", data / "val2017")
    assert done.exit_code == 0, done.output
    rows = spots.table(tmp_path / "[b]run" / "predictions" / "predictions.csv")
    assert len(rows) == 8


def test_a_table_is_complete_on_a_narrow_terminal(run: Path, data: Path, tmp_path: Path) -> None:
    joint = "the tip of the tail as far as it can be seen in all the images"
    renamed = tmp_path / "long"
    shutil.copytree(run, renamed, ignore=shutil.ignore_patterns("evaluation"))
    record = json.loads((renamed / "run.json").read_text())
    record["data"]["joints"] = [joint, "right"]
    (renamed / "run.json").write_text(json.dumps(record))
    shutil.copytree(data, tmp_path / "data")
    table = (data / "points.csv").read_text().replace(",left,", f',"{joint}",')
    (tmp_path / "data" / "points.csv").write_text(table)
    done = mapdrop("evaluate", renamed, tmp_path / "data", "--normalise", f"{joint},right")
    assert done.exit_code == 0, done.output
    assert f"0.2 {joint}-right" in done.output
    found = json.loads((renamed / "evaluation" / "metrics.json").read_text())
    figures, (row,) = found["figures"], [r for r in found["ranking"] if r["joint"] == joint]
    lines = [line.strip() for line in done.output.splitlines()]
    (line,) = [line for line in lines if line.startswith(joint)]
    expected = [
        f"{value[joint]:.1f}" if "error" in name else f"{100 * value[joint]:.1f}"
        for name, value in figures.items()
    ]
    worst = Path(row["worst image"]).name
    assert line.removeprefix(joint).split() == [str(row["labels"]), *expected, worst]
    assert len(expected) == 8


def test_a_folder_without_a_run_is_reported(data: Path, tmp_path: Path) -> None:
    for command in (["evaluate", tmp_path, data], ["predict", tmp_path, data]):
        done = mapdrop(*command)
        assert done.exit_code == 1
        assert "holds no run" in done.output
    done = mapdrop("train", data, "--resume")
    assert done.exit_code == 1
    assert "name the run's folder: --out RUN" in done.output


def test_another_joint_than_the_runs_cannot_normalise(run: Path, data: Path) -> None:
    for pair in ("left,tail", "left", "left,left"):
        done = mapdrop("evaluate", run, data, "--normalise", pair)
        assert done.exit_code == 2
        assert "expected two of left, right" in " ".join(done.output.replace("│", " ").split())


def test_a_missing_package_is_named(run: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mapdrop.localize.run.settings", None)
    monkeypatch.delitem(sys.modules, "mapdrop.localize.run.start", raising=False)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.delitem(sys.modules, "mapdrop.localize.run.checkpoint", raising=False)
    monkeypatch.delitem(sys.modules, "mapdrop.localize.run.trained", raising=False)
    done = mapdrop("predict", run, data)
    assert done.exit_code == 1
    assert 'safetensors is not installed: pip install "mapdrop[study]"' in done.output

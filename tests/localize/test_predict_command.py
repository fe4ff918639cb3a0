"""`mapdrop localize predict` loses neither results nor existing files."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from mapdrop import cli
from mapdrop.cli import app
from mapdrop.localize import predictor
from mapdrop.localize.predictions import Predictions
from mapdrop.localize.run.trained import TrainedModel
from tests.localize import spots


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["localize", "predict", *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spots.write(tmp_path_factory.mktemp("spots"), 8)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spots.untrained(tmp_path_factory.mktemp("runs") / "run", data)


@pytest.fixture(scope="module")
def truth(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Predict each image's row, by name; all differ, so that no two can be confused."""
    out = tmp_path_factory.mktemp("truth")
    done = predict(run, data, "--out", out, "--no-overlay")
    assert done.exit_code == 0, done.output
    rows = {Path(name).name: row for name, row in spots.table(out / "predictions.csv").items()}
    assert len({row.tobytes() for row in rows.values()}) == 8
    return rows


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "BATCH_SIZE", 3)


def frames(data: Path, *numbers: int) -> list[Path]:
    return [data / f"{number:03}.png" for number in numbers]


def seen(run: Path, film: Path) -> list[np.ndarray]:
    """Return the network's detections in each frame."""
    trained = TrainedModel.load(run, torch.device("cpu"))
    with av.open(str(film)) as container:
        images = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    found = trained.locate(images.astype(np.uint8))
    rows = torch.cat([found.points, found.likelihood[..., None]], dim=-1).double().numpy()
    assert len({row.tobytes() for row in rows}) == len(rows)
    return list(rows)


def check_rows(rows: dict[str, np.ndarray], expected: Sequence[np.ndarray]) -> None:
    assert list(rows) == [str(number) for number in range(len(expected))]
    np.testing.assert_allclose(list(rows.values()), expected, atol=2e-4)


def test_inputs_of_one_name_have_results_of_their_own(
    run: Path, data: Path, tmp_path: Path
) -> None:
    films = {
        "cam1/trial.mp4": (0, 1),
        "cam2/trial.mp4": (2, 3, 4),
        "cam2/trial.avi": (5,),
        "predictions.mp4": (6, 7),
    }
    paths = [
        spots.film(tmp_path / "in" / name, frames(data, *shown)) for name, shown in films.items()
    ]
    stills = tmp_path / "in" / "stills"
    stills.mkdir()
    for number, name in enumerate(("a.png", "a.png.png", "b.jpg.png")):
        (stills / name).write_bytes(frames(data, number)[0].read_bytes())
    done = predict(run, *paths, stills, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    for name, shown in films.items():
        expected = seen(run, tmp_path / "in" / name)
        assert len(expected) == len(shown)
        check_rows(spots.table(tmp_path / "out" / f"{name}.csv"), expected)
        assert (tmp_path / "out" / f"{name}-joints.mp4").stat().st_size
    rows = spots.table(tmp_path / "out" / "predictions.csv")
    assert [Path(name).name for name in rows] == ["a.png", "a.png.png", "b.jpg.png"]
    overlays = [tmp_path / "out" / "overlays" / f"{Path(name).name}.png" for name in rows]
    assert len({overlay.read_bytes() for overlay in overlays}) == 3


@pytest.mark.parametrize("order", [1, -1], ids=["forward", "backward"])
def test_names_do_not_depend_on_the_order(
    run: Path, data: Path, tmp_path: Path, order: int
) -> None:
    paths = [spots.film(tmp_path / name, frames(data, 0)) for name in ("a/x.mp4", "b/x.mp4")]
    done = predict(run, *paths[::order], "--out", tmp_path / "out", "--no-overlay")
    assert done.exit_code == 0, done.output
    made = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")
    )
    assert made == ["a/x.mp4.csv", "b/x.mp4.csv"]


def test_existing_files_are_kept_without_overwrite(run: Path, data: Path, tmp_path: Path) -> None:
    film = spots.film(tmp_path / "cam0.mp4", frames(data, 0))
    for name in ("cam0.mp4.csv", "cam0.mp4-joints.mp4", "cam0.mp4.csv.part"):
        out = tmp_path / f"beside {name}"
        out.mkdir(exist_ok=True)
        (out / name).write_text("mine")
        done = predict(run, film, "--out", out)
        assert done.exit_code == 1
        assert "would replace files that exist already" in done.output
        assert str(out / name) in done.output
        assert [path.read_text() for path in out.iterdir()] == ["mine"]
        done = predict(run, film, "--out", out, "--overwrite")
        assert done.exit_code == 0, done.output
        assert list(spots.table(out / "cam0.mp4.csv")) == ["0"]
        assert not (out / "cam0.mp4.csv.part").exists()
        for path in out.iterdir():
            path.unlink()


def test_an_input_is_never_replaced(run: Path, data: Path, tmp_path: Path) -> None:
    picture = tmp_path / "overlays" / "a.png.png"
    picture.parent.mkdir()
    content = frames(data, 0)[0].read_bytes()
    for name in ("a.png", "a.png.png"):
        (tmp_path / "overlays" / name).write_bytes(content)
    done = predict(run, picture.parent, "--out", tmp_path, "--overwrite")
    assert done.exit_code == 1
    assert "would replace files that are the inputs" in done.output
    assert picture.read_bytes() == content


def test_a_name_that_is_not_utf8_loses_nothing(
    run: Path, data: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    Path(odd).write_bytes(frames(data, 1)[0].read_bytes())
    spots.film(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")), frames(data, 2))
    done = predict(run, *sorted(tmp_path.glob("caf*")), data / "003.png", "--out", tmp_path / "o")
    assert done.exit_code == 0, done.output
    tables = {path.name: path for path in (tmp_path / "o").rglob("*.csv")}
    rows = spots.table(tables["predictions.csv"])
    assert list(rows) == [str(tmp_path / r"caf\udce9.png"), str(data / "003.png")]
    np.testing.assert_array_equal(rows[str(tmp_path / r"caf\udce9.png")], truth["001.png"])
    np.testing.assert_array_equal(rows[str(data / "003.png")], truth["003.png"])
    assert len(tables) == 2


def test_a_truncated_image_loses_only_itself(
    run: Path, data: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for path in frames(data, *range(8)):
        content = path.read_bytes()
        cut = path.name in ("001.png", "005.png")
        (tmp_path / path.name).write_bytes(content[: len(content) // 2] if cut else content)
    film = spots.film(tmp_path / "later.mp4", frames(data, 3))
    done = predict(run, tmp_path, film, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "2 problems with 9 images" in done.output
    assert "001.png can't be read as an image" in done.output
    assert "005.png can't be read as an image" in done.output
    rows = spots.table(tmp_path / "out" / "predictions.csv")
    assert [Path(name).name for name in rows] == [f"{i:03}.png" for i in (0, 2, 3, 4, 6, 7)]
    for name, row in rows.items():
        np.testing.assert_array_equal(row, truth[Path(name).name])
    overlays = sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir())
    assert overlays == [f"{Path(name).name}.png" for name in rows]
    check_rows(spots.table(tmp_path / "out" / "later.mp4.csv"), seen(run, film))


def test_a_stray_file_in_a_folder_loses_only_itself(
    run: Path, data: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for path in frames(data, 0, 1):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "b.mp4").touch()
    (tmp_path / "index.ts").write_text("export const answer = 42;\n")
    (tmp_path / "c.png").write_text("no image")
    done = predict(run, tmp_path, tmp_path, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "3 problems with 5 images" in done.output
    for told in ("b.mp4 is empty", "index.ts can't be read as a video", "c.png can't be read as"):
        assert done.output.count(told) == 1
    rows = spots.table(tmp_path / "out" / "predictions.csv")
    assert [Path(name).name for name in rows] == ["000.png", "001.png"]
    for name, row in rows.items():
        np.testing.assert_array_equal(row, truth[Path(name).name])


@pytest.mark.parametrize("named", ["folder", "file"])
def test_nothing_is_written_where_what_was_named_cannot_be_read(
    run: Path, data: Path, tmp_path: Path, named: str
) -> None:
    path = tmp_path / "folder" / "b.mp4"
    path.parent.mkdir()
    path.touch()
    asked = path.parent if named == "folder" else path
    done = predict(run, data, asked, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "b.mp4 is empty" in done.output
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_read_is_not_replaced(run: Path, data: Path, tmp_path: Path) -> None:
    spots.film(tmp_path / "a.mp4", frames(data, 0))
    (tmp_path / "a.mp4-joints.mp4").write_text("mine")
    done = predict(run, tmp_path, "--out", tmp_path, "--overwrite")
    assert done.exit_code == 1
    assert "would replace files that are the inputs" in done.output
    assert (tmp_path / "a.mp4-joints.mp4").read_text() == "mine"


def test_a_damaged_frame_loses_no_rows_before_it_and_no_later_video(
    run: Path, data: Path, tmp_path: Path
) -> None:
    film = spots.film(tmp_path / "a.mp4", frames(data, *range(8)), movflags="faststart")
    whole, expected = film.read_bytes(), seen(run, film)
    film.write_bytes(whole[: int(0.7 * len(whole))])
    later = spots.film(tmp_path / "b.mp4", frames(data, 3, 4))
    done = predict(run, film, later, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert re.search(r"a.mp4: \d frames, \d-7, can't be read", done.output)
    rows = spots.table(tmp_path / "out" / "a.mp4.csv")
    assert 3 < len(rows) < 8
    check_rows(rows, expected[: len(rows)])
    check_rows(spots.table(tmp_path / "out" / "b.mp4.csv"), seen(run, later))
    assert (tmp_path / "out" / "a.mp4-joints.mp4").stat().st_size
    assert not list((tmp_path / "out").glob("*part*"))


def test_ctrl_c_keeps_what_was_found(
    run: Path,
    data: Path,
    truth: dict[str, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Send the signal while the second batch of three images is processed."""
    looked = predictor.Predictor._locate

    def interrupted(*arguments: Any) -> Predictions:
        monkeypatch.setattr(predictor.Predictor, "_locate", stopping)
        return looked(*arguments)

    def stopping(*arguments: Any) -> Predictions:
        os.kill(os.getpid(), signal.SIGINT)
        return looked(*arguments)

    monkeypatch.setattr(predictor.Predictor, "_locate", interrupted)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # A background job may ignore it.
    try:
        done = predict(run, data, "--out", tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.exit_code == 1
    assert "stopped" in done.output
    assert f"found: {tmp_path / 'out' / 'predictions.csv'}" in done.output
    rows = spots.table(tmp_path / "out" / "predictions.csv")
    assert [Path(name).name for name in rows] == ["000.png", "001.png", "002.png"]
    for name, row in rows.items():
        np.testing.assert_array_equal(row, truth[Path(name).name])


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of files, as a full disk does."""
    resource = pytest.importorskip("resource", reason="Windows has no limit for the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_rows_that_fit(
    run: Path, data: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    with largest_file(600):
        done = predict(run, data, "--out", tmp_path, "--no-overlay")
    assert done.exit_code == 1
    assert "File too large" in done.output
    lines = (tmp_path / "predictions.csv").read_bytes()
    assert lines.endswith(b"\n")
    rows = spots.table(tmp_path / "predictions.csv")
    assert 3 <= len(rows) < 8
    for name, row in rows.items():
        np.testing.assert_array_equal(row, truth[Path(name).name])


def test_the_rows_of_a_killed_process_are_on_disk(
    run: Path, data: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Kill the process in the third batch, with no chance to clean up."""
    code = """
import os, signal, sys
from mapdrop import cli
from mapdrop.cli import app
from mapdrop.localize import predictor
from mapdrop.localize.run.trained import TrainedModel
predictor.BATCH_SIZE = 3
looks, looked = [], predictor.Predictor._locate
def counted(*arguments):
    looks.append(1)
    if len(looks) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return looked(*arguments)
predictor.Predictor._locate = counted
app(sys.argv[1:])
"""
    arguments = ["localize", "predict", str(run), str(data), "--out", str(tmp_path), "--no-overlay"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    rows = spots.table(tmp_path / "predictions.csv.part")
    assert [Path(name).name for name in rows] == [f"{i:03}.png" for i in range(6)]
    for name, row in rows.items():
        np.testing.assert_allclose(row, truth[Path(name).name], atol=2e-4)
    # The next command does not overwrite them.
    done_again = predict(run, data, "--out", tmp_path)
    assert done_again.exit_code == 1
    assert "predictions.csv.part" in done_again.output


@pytest.mark.parametrize("where", ["predictions", "predictions/overlays"])
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]], ids=["", "overwrite"])
def test_no_link_in_a_strangers_run_leads_out_of_it(
    run: Path, data: Path, tmp_path: Path, where: str, overwrite: list[str]
) -> None:
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir()
    mine.mkdir()
    for path in run.iterdir():
        if path.is_file():
            (theirs / path.name).write_bytes(path.read_bytes())
    link = theirs / where
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(mine, target_is_directory=True)
    done = predict(theirs, data / "000.png", *overwrite)
    assert done.exit_code == 1
    assert "is a link that leads out of" in done.output
    assert list(mine.iterdir()) == []
    # A link that the user names is followed.
    link.unlink()
    named = tmp_path / "named"
    named.symlink_to(mine, target_is_directory=True)
    assert predict(theirs, data / "000.png", "--out", named).exit_code == 0
    assert (mine / "predictions.csv").exists()


def test_a_link_to_a_file_is_replaced_not_followed(run: Path, data: Path, tmp_path: Path) -> None:
    """`.000.png.png.part` is the overlay's name until it is complete."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    overlays = tmp_path / "out" / "overlays"
    overlays.mkdir(parents=True)
    (overlays / ".000.png.png.part").symlink_to(precious)
    (overlays / "000.png.png").symlink_to(precious)
    (tmp_path / "out" / "predictions.csv.part").symlink_to(precious)
    done = predict(run, data / "000.png", "--out", tmp_path / "out", "--overwrite")
    assert done.exit_code == 0, done.output
    assert precious.read_text() == "mine"
    assert len(spots.table(tmp_path / "out" / "predictions.csv")) == 1
    assert not (overlays / "000.png.png").is_symlink()


def test_a_line_break_in_a_name_makes_no_line_of_its_own(
    run: Path, data: Path, tmp_path: Path
) -> None:
    for name in ("a\nfound: b.png", "c\n... and 9 more.png"):
        (tmp_path / name).write_text("no image")
    done = predict(run, *tmp_path.iterdir(), "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert [line.partition(" ")[0] for line in done.output.splitlines()] == [
        "error:",
        "predict:",
        "predict:",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_letters_that_a_code_page_lacks_are_written_out(
    run: Path, data: Path, tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "鼻é"
    command = ["mapdrop", "localize", "predict", run, data / "000.png", "--out", out]
    written = io.BytesIO()
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    sys.stdout.flush()
    assert f"found: {tmp_path}/\\u9f3b" in written.getvalue().decode(encoding)
    assert len(spots.table(out / "predictions.csv")) == 1


def test_a_colon_in_a_videos_name_is_no_address(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spots.film(tmp_path / "a.mp4", frames(data, 0, 1)).rename("10:30.mp4")
    done = predict(run, "10:30.mp4", "--out", ".")
    assert done.exit_code == 0, done.output
    assert list(spots.table(tmp_path / "10:30.mp4.csv")) == ["0", "1"]
    assert (tmp_path / "10:30.mp4-joints.mp4").stat().st_size


def test_a_video_that_names_other_files_is_not_opened(
    run: Path, data: Path, tmp_path: Path
) -> None:
    spots.film(tmp_path / "private.mp4", frames(data, 0))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile private.mp4\n")
    done = predict(run, tmp_path / "list.mp4", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "list.mp4 can't be read as a video" in done.output


def test_a_pipe_is_refused_at_once(run: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.mp4"):
        os.mkfifo(tmp_path / name)
    done = predict(run, tmp_path / "a.png", tmp_path / "a.mp4", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "2 problems with 2 images" in done.output


def test_names_can_neither_command_a_terminal_nor_be_markup(
    run: Path, data: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "[x]\x1b[2J\u202e"
    film = spots.film(tmp_path / "a.mp4", frames(data, 0))
    hostile.mkdir()
    film = film.rename(hostile / "[red]\x1b[2J.mp4")
    (hostile / "\x9b2J.png").write_bytes(frames(data, 0)[0].read_bytes()[:300])
    done = predict(run, film, hostile / "\x9b2J.png", "--out", hostile / "out")
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert not set("\x1b\x9b\u202e") & set(done.output)
    assert r"[x]\x1b[2J\u202e/out/[red]\x1b[2J.mp4.csv" in done.output
    assert r"\x9b2J.png" in done.output
    assert (hostile / "out" / f"{film.name}.csv").exists()

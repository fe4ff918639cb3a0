"""`predict` and `suggest` on videos and stacks as laboratories have them."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from typer.testing import CliRunner, Result

from mapdrop.cli import app
from mapdrop.localize import predictor
from mapdrop.localize.suggestion import Search
from mapdrop.localize.suggestion.names import distinct
from tests.localize import films, spots

COUNT = 8


def mapdrop(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["localize", *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spots.write(tmp_path_factory.mktemp("spots"), COUNT)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spots.untrained(tmp_path_factory.mktemp("runs") / "run", data, drop="spatial")


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "BATCH_SIZE", 3)


def rows(table: Path) -> list[list[str]]:
    """Return the rows of a table, without its header."""
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[3:]


def suggested(folder: Path) -> list[dict[str, str]]:
    with (folder / "suggestions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stack(path: Path, pages: list[Image.Image]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def images(data: Path) -> list[Image.Image]:
    found = []
    for path in sorted(data.glob("*.png")):
        with Image.open(path) as image:
            found.append(image.convert("RGB"))
    return found


def pixels(path: Path) -> films.Pixels:
    with Image.open(path) as image:
        return np.asarray(image)


# --- Videos.


def test_a_damaged_frame_leaves_an_empty_row(run: Path, tmp_path: Path) -> None:
    film = films.write(tmp_path / "a.avi", films.pictures(COUNT), "mjpeg")
    whole = film.read_bytes()
    ideal = mapdrop("predict", run, film, "--out", tmp_path / "ideal", "--uncertainty", 2)
    assert ideal.exit_code == 0, ideal.output
    film.write_bytes(whole)
    films.damage(film, 3)
    films.damage(film, 6)
    later = films.write(tmp_path / "b.mp4", films.pictures(2))
    out = tmp_path / "out"
    done = mapdrop("predict", run, film, later, "--out", out, "--uncertainty", 2)
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert "a.avi: 2 frames, 3, 6, can't be read: Invalid data found" in done.output
    for name in ("a.avi.csv", "a.avi-spread.csv"):
        expected = rows(tmp_path / "ideal" / name)
        for number in (3, 6):
            expected[number][1:] = [""] * (len(expected[number]) - 1)
        found = rows(out / name)
        assert [row[0] for row in found] == [str(number) for number in range(COUNT)]
        assert [row.count("") for row in found] == [row.count("") for row in expected]
        if name == "a.avi.csv":
            assert found == expected
    assert len(rows(out / "b.mp4.csv")) == 2
    assert films.length(out / "a.avi-joints.mp4") == COUNT
    assert not list(out.glob("*part*"))


def test_an_upright_video_of_a_phone(run: Path, data: Path, tmp_path: Path) -> None:
    """Its points and its overlay are in the frame that a player shows."""
    pictures = [np.asarray(image) for image in images(data)[:3]]
    film = films.write(tmp_path / "phone.mp4", pictures)
    films.turn(film, (0, 1, -1, 0))
    with av.open(str(film)) as container:
        stills = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for number, still in enumerate(stills):
        turned = Image.fromarray(still).rotate(-90, expand=True)
        turned.save(tmp_path / f"still{number}.png")
    out = tmp_path / "out"
    done = mapdrop("predict", run, tmp_path, "--out", out)
    assert done.exit_code == 0, done.output
    expected = [row[1:] for row in rows(out / "predictions.csv")]
    assert [row[1:] for row in rows(out / "phone.mp4.csv")] == expected
    with av.open(str(out / "phone.mp4-joints.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (48, 64)


def test_a_folder_has_videos_and_images_but_no_twins(run: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a.mp4", "b.WMV", "c.mts"):
        films.write(folder / name, films.pictures(2), "wmv2" if "WMV" in name else "h264")
    (folder / "d.png").write_bytes((data / "000.png").read_bytes())
    for name in ("._a.mp4", "._d.png", ".DS_Store", "notes.txt"):
        (folder / name).write_bytes(b"\0\5\26\7")
    done = mapdrop("predict", run, folder, "--out", tmp_path / "out", "--no-overlay")
    assert done.exit_code == 0, done.output
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["a.mp4.csv", "b.WMV.csv", "c.mts.csv", "predictions.csv"]
    assert [len(rows(tmp_path / "out" / name)) for name in made] == [2, 2, 2, 1]


# --- Stacks.


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp"])
def test_a_stack_has_a_row_for_each_page(run: Path, data: Path, tmp_path: Path, name: str) -> None:
    pages = images(data)
    options: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], **options)
    out = tmp_path / "out"
    done = mapdrop("predict", run, tmp_path / name, data, "--out", out)
    assert done.exit_code == 0, done.output
    found, single = rows(out / f"{name}.csv"), rows(out / "predictions.csv")
    assert [row[0] for row in found] == [str(number) for number in range(COUNT)]
    assert [row[1:] for row in found] == [row[1:] for row in single]
    assert films.length(out / f"{name}-joints.mp4") == COUNT


def test_a_gif_has_a_row_for_each_page(run: Path, data: Path, tmp_path: Path) -> None:
    film = stack(tmp_path / "a.gif", images(data))
    done = mapdrop("predict", run, film, "--out", tmp_path / "out", "--no-overlay")
    assert done.exit_code == 0, done.output
    assert len(rows(tmp_path / "out" / "a.gif.csv")) == COUNT


def test_a_page_that_is_damaged_or_deep_leaves_an_empty_row(
    run: Path, data: Path, tmp_path: Path
) -> None:
    pages = images(data)
    deep = Image.fromarray(np.full((48, 64), 60_000, np.uint16))
    film = tmp_path / "a.tif"
    with TiffImagePlugin.AppendingTiffWriter(str(film), new=True) as writer:
        for page in (pages[0], deep, pages[2], pages[3]):
            page.save(writer, "TIFF", compression="tiff_deflate")
            writer.newFrame()
    with Image.open(film) as image:
        image.seek(2)
        at, size = image.tag_v2[273][0], image.tag_v2[279][0]  # type: ignore[attr-defined]
    content = bytearray(film.read_bytes())
    content[at : at + size] = bytes(size)
    film.write_bytes(content)
    done = mapdrop("predict", run, film, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "a.tif: 2 frames, 1-2, can't be read: it has more than 8 bits" in done.output
    found = rows(tmp_path / "out" / "a.tif.csv")
    assert ["" in row for row in found] == [False, True, True, False]
    assert films.length(tmp_path / "out" / "a.tif-joints.mp4") == 4


def test_a_stack_that_is_cut_off_is_read_up_to_there(run: Path, data: Path, tmp_path: Path) -> None:
    film = stack(tmp_path / "a.tif", images(data))
    whole = film.read_bytes()
    film.write_bytes(whole[: len(whole) * 6 // 10])
    done = mapdrop("predict", run, film, "--out", tmp_path / "out", "--no-overlay")
    assert done.exit_code == 1
    assert "can't be read" in done.output
    found = [row for row in rows(tmp_path / "out" / "a.tif.csv") if "" not in row]
    assert COUNT // 3 < len(found) < COUNT


# --- Suggestions.


def same_stem(folder: Path) -> list[Path]:
    paths = [folder / name for name in ("day1/cam0.mp4", "day2/cam0.mp4", "day2/cam0.avi")]
    return [
        films.write(
            path, films.pictures(2, seed=seed), "mjpeg" if path.suffix == ".avi" else "h264"
        )
        for seed, path in enumerate(paths)
    ]


def test_suggestions_from_files_of_one_name_have_names_of_their_own(
    run: Path, tmp_path: Path
) -> None:
    paths = same_stem(tmp_path / "in")
    for name in ("x/stills/1.png", "y/stills/1.png", "y/stills/1.jpg", "y/cam0/img0000.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(films.pictures(1, seed=len(paths))[0]).save(path)
        paths.append(path)
    pages = [Image.fromarray(page) for page in films.pictures(2, seed=99)]
    paths.append(stack(tmp_path / "in" / "cells.tif", pages))
    out = tmp_path / "out"
    done = mapdrop("suggest", run, *paths, "--passes", 2, "--count", 50, "--out", out)
    assert done.exit_code == 0, done.output
    found = {row["image"]: (Path(row["source"]), row["frame"]) for row in suggested(out)}
    assert len(found) == 3 * 2 + 4 + 2
    sources = {path: name.split("/")[1] for name, (path, _) in found.items()}
    assert sources == {
        paths[0]: "day1_cam0.mp4",
        paths[1]: "day2_cam0.mp4",
        paths[2]: "cam0.avi",
        paths[3]: "x_stills",
        paths[4]: "y_stills",
        paths[5]: "y_stills",
        paths[6]: "cam0",
        paths[7]: "cells",
    }
    for name, (path, frame) in found.items():
        written = pixels(out / name)
        if path.suffix == ".tif":
            np.testing.assert_array_equal(written, np.asarray(pages[int(frame)]))
        elif frame:
            np.testing.assert_array_equal(written, films.decoded(path)[int(frame)])


def test_suggest_goes_on_past_a_damaged_frame(run: Path, tmp_path: Path) -> None:
    film = films.write(tmp_path / "a.avi", films.pictures(COUNT), "mjpeg")
    expected = films.decoded(film)
    films.damage(film, 3)
    out = tmp_path / "out"
    done = mapdrop("suggest", run, film, "--passes", 2, "--count", 50, "--out", out)
    assert done.exit_code == 1
    assert done.output.count("frame 3 can't be read") == 1
    frames = {int(row["frame"]): row["image"] for row in suggested(out)}
    assert sorted(frames) == [0, 1, 2, 4, 5, 6, 7]
    for number, name in frames.items():
        np.testing.assert_array_equal(pixels(out / name), expected[number])


def test_ctrl_c_keeps_the_suggestions_until_then(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Send the signal when the second batch of three frames is processed."""
    film = films.write(tmp_path / "a.mp4", films.pictures(COUNT))
    looked = Search._candidates
    batches = []

    def interrupted(search: Search, batch: Any) -> Any:
        batches.append(batch)
        if len(batches) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return looked(search, batch)

    monkeypatch.setattr(Search, "_candidates", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = mapdrop("suggest", run, film, "--passes", 2, "--out", tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.exit_code == 1
    assert "stopped; the suggestions are from what was looked at until then" in done.output
    assert sorted(int(row["frame"]) for row in suggested(tmp_path / "out")) == [0, 1, 2]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.mp4", "b/y.mp4"], ["x", "y"]),
        (["a/x.mp4", "b/x.mp4", "b/y.mp4"], ["a_x.mp4", "b_x.mp4", "y"]),
        (["a/c/x.mp4", "b/c/x.mp4"], ["a_c_x.mp4", "b_c_x.mp4"]),
        (["a/x.avi", "a/x.mp4"], ["x.avi", "x.mp4"]),
        (["a/Cam.mp4", "a/cam.avi"], ["Cam.mp4", "cam.avi"]),
    ],
    ids=["different", "folders", "grandparents", "suffixes", "case"],
)
def test_names_are_as_long_as_they_need_to_be(paths: list[str], names: list[str]) -> None:
    found = distinct({Path("/", path): Path(path).stem for path in paths})
    assert list(found.values()) == names


def test_without_pyav_the_images_of_a_folder_are_read(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    shutil.copy(data / "000.png", folder)
    video = spots.film(folder / "cam.mp4", [data / "000.png"])
    monkeypatch.setitem(sys.modules, "av", None)
    done = mapdrop("predict", run, folder, "--out", tmp_path / "out", "--no-overlay")
    assert done.exit_code == 1
    assert 'cam.mp4: av is not installed: pip install "mapdrop[video]"' in done.output
    assert [row[0] for row in rows(tmp_path / "out" / "predictions.csv")] == [
        str(folder / "000.png")
    ]
    alone = mapdrop("predict", run, video, "--out", tmp_path / "alone")
    assert alone.exit_code == 1
    assert 'pip install "mapdrop[video]"' in alone.output

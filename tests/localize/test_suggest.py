"""`mapdrop localize suggest`: what to label next."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from mapdrop.cli import app
from mapdrop.localize import predictor
from mapdrop.localize.clips.video import Video
from mapdrop.localize.contact_sheet import contact_sheet
from mapdrop.localize.data.image_files import letterbox
from mapdrop.localize.failures import Failures
from mapdrop.localize.predictions import Predictions
from mapdrop.localize.results import ResultFolder
from mapdrop.localize.run.images import digest
from mapdrop.localize.run.trained import TrainedModel
from mapdrop.localize.sources import Sources
from mapdrop.localize.suggestion import Candidate, choose
from mapdrop.localize.suggestion.files import write
from mapdrop.localize.suggestion.names import SuggestionNames
from tests.localize import spots

COUNT = 12


def suggest(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["localize", "suggest", *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spots.write(tmp_path_factory.mktemp("spots"), COUNT)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spots.untrained(tmp_path_factory.mktemp("runs") / "run", data, drop="spatial")


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "BATCH_SIZE", 5)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "suggestions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def unseen(run: Path, data: Path) -> set[str]:
    """Return the names of the images that are neither of the training nor of the validation."""
    trained = TrainedModel.load(run, torch.device("cpu"))
    known = {one for digests in trained.record.seen.values() for one in digests}
    names = set()
    for path in data.glob("*.png"):
        working, _ = letterbox(Image.open(path).convert("RGB"), trained.size)
        names |= set() if digest(working) in known else {path.name}
    assert len(names) == COUNT - 4
    return names


def test_the_most_uncertain_images_that_were_not_trained_on(
    run: Path, data: Path, tmp_path: Path
) -> None:
    done = suggest(run, data, "--count", 3, "--passes", 5, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "4 left out that were used in training" in done.output
    found = rows(tmp_path)
    assert len(found) == 3
    assert {Path(row["source"]).name for row in found} <= unseen(run, data)
    spreads = [float(row["spread"]) for row in found]
    assert spreads == sorted(spreads, reverse=True)
    every = suggest(run, data, "--count", 50, "--passes", 5, "--out", tmp_path / "all")
    assert "no more than 8" in every.output
    all_spreads = sorted((float(row["spread"]) for row in rows(tmp_path / "all")), reverse=True)
    assert len(all_spreads) == 8
    assert spreads[0] == all_spreads[0]
    assert set(spreads) <= set(all_spreads[:4])
    for row in found:
        written = np.asarray(Image.open(tmp_path / row["image"]))
        assert np.array_equal(written, np.asarray(Image.open(row["source"])))
        assert row["image"] == f"labeled-data/{data.name}/{Path(row['source']).name}"
    with Image.open(tmp_path / "suggestions.png") as sheet:
        assert sheet.width > 3 * 240


def test_frames_have_the_names_that_deeplabcut_gives_them(
    run: Path, data: Path, tmp_path: Path
) -> None:
    film = spots.film(tmp_path / "cam0.mp4", sorted(data.glob("*.png")))
    out = tmp_path / "out"
    arguments = (run, film, "--count", 2, "--passes", 3, "--candidates", 6, "--out", out)
    done = suggest(*arguments)
    assert done.exit_code == 0, done.output
    found = rows(out)
    frames = list(Video(film).frames())
    assert len(found) == 2
    for row in found:
        number = int(row["frame"])
        assert number % 2 == 0
        assert row["image"] == f"labeled-data/cam0/img{number:04}.png"
        written = np.asarray(Image.open(out / row["image"]))
        assert np.array_equal(written, np.asarray(frames[number]))
    again = suggest(*arguments)
    assert again.exit_code == 1
    assert "exist already" in again.output
    assert suggest(*arguments, "--overwrite").exit_code == 0


def test_a_network_without_dropout_suggests_nothing(data: Path, tmp_path: Path) -> None:
    run = spots.untrained(tmp_path / "run", data)
    done = suggest(run, data, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "train with --drop spatial" in done.output.replace("\n", " ")


def test_images_that_are_all_labelled_are_told(run: Path, data: Path, tmp_path: Path) -> None:
    new = unseen(run, data)
    old = [path for path in data.glob("*.png") if path.name not in new]
    done = suggest(run, *old, "--passes", 3, "--out", tmp_path)
    assert done.exit_code == 1
    assert "used in training" in done.output.replace("\n", " ")


def test_what_is_damaged_loses_nothing_else(run: Path, data: Path, tmp_path: Path) -> None:
    pictures = sorted(data.glob("*.png"))
    new = sorted(unseen(run, data))
    for name in new:
        content = (data / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2] if name == new[1] else content)
    film = spots.film(tmp_path / "a.mp4", pictures, movflags="faststart")
    whole = film.read_bytes()
    film.write_bytes(whole[: int(0.7 * len(whole))])
    later = spots.film(tmp_path / "b.mp4", pictures[:2])
    out = tmp_path / "out"
    done = suggest(run, tmp_path, film, later, "--count", 50, "--passes", 2, "--out", out)
    assert done.exit_code == 1
    assert f"2 problems with {len(new) + 2} images" in done.output
    assert f"{new[1]} can't be read as an image" in done.output
    assert re.search(r"a.mp4: \d frames, \d-11, can't be read", done.output)
    found = rows(out)
    sources = [Path(row["source"]).name for row in found]
    assert set(sources) == {*new[:1], *new[2:], "a.mp4", "b.mp4"}
    assert 3 < sources.count("a.mp4") < len(pictures)
    assert sources.count("b.mp4") == 2
    assert all((out / row["image"]).exists() for row in found)


def test_a_stray_file_in_a_folder_loses_only_itself(run: Path, data: Path, tmp_path: Path) -> None:
    name, *_ = sorted(unseen(run, data))
    (tmp_path / name).write_bytes((data / name).read_bytes())
    (tmp_path / "b.mp4").touch()
    (tmp_path / "index.ts").write_text("export const answer = 42;\n")
    done = suggest(run, tmp_path, "--passes", 2, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "2 problems with 3 images" in done.output
    assert "b.mp4 is empty" in done.output
    assert "index.ts can't be read as a video" in done.output
    assert [Path(row["source"]).name for row in rows(tmp_path / "out")] == [name]


def test_what_alone_is_damaged_is_told(run: Path, data: Path, tmp_path: Path) -> None:
    content = (data / "000.png").read_bytes()
    (tmp_path / "000.png").write_bytes(content[: len(content) // 2])
    done = suggest(run, tmp_path, "--passes", 2, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "000.png can't be read as an image" in done.output
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_gone_again_is_left_out(data: Path, tmp_path: Path) -> None:
    failures = Failures()
    chosen = [
        replace(candidate(1.0, 0.5), source=path, frame=None)
        for path in (data / "000.png", tmp_path / "gone.png", data / "001.png")
    ]
    names = SuggestionNames.of(Sources({one.source: one.source.name for one in chosen}, {}))
    write(chosen, names, ResultFolder(tmp_path / "out", tmp_path), failures)
    assert [Path(row["source"]).name for row in rows(tmp_path / "out")] == ["000.png", "001.png"]
    (told,) = failures.told
    assert "gone.png" in told


# --- The choice.


def candidate(spread: float, look: float, number: int = 0) -> Candidate:
    found = Predictions(("a",), ("0",), np.zeros((1, 1, 2)), np.ones((1, 1)), np.array([[spread]]))
    return Candidate(Path("film.mp4"), number, found, np.full(4, look))


def test_images_that_look_alike_are_chosen_once() -> None:
    alike = [candidate(10 - n / 10, 0.0 + n / 1000) for n in range(5)]
    other = [candidate(5.0, 0.5), candidate(4.9, 0.9)]
    certain = [candidate(n / 100, n / 7) for n in range(7)]
    chosen = choose([*certain, *other, *alike], 3)
    assert [one.spread for one in chosen] == [10.0, 5.0, 4.9]


def test_the_number_is_kept_where_images_are_equal() -> None:
    chosen = choose([candidate(float(n), 0.0) for n in range(9)], 4)
    assert [one.spread for one in chosen] == [8.0, 7.0, 6.0, 5.0]
    assert len(choose([candidate(1.0, 0.0)], 4)) == 1


def test_a_contact_sheet_has_a_cell_for_each_picture() -> None:
    red, blue = (Image.new("RGB", (52, 39), colour) for colour in ("red", "blue"))
    sheet = np.asarray(contact_sheet([(red, "one")] * 5 + [(blue, "two")]))
    assert (sheet[60, 60] == (255, 0, 0)).all()
    assert (sheet[:, 60] == (0, 0, 255)).all(axis=1).any()
    assert not (sheet[:, -60] == (0, 0, 255)).all(axis=1).any()

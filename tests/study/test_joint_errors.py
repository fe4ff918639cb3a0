"""Which joints and which test images of a study are hard, and what the page shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from PIL import Image

from mapdrop.localize.contact_sheet import Legend, Section, sheet_of
from mapdrop.localize.data import LoadOptions, load
from mapdrop.study import hard_images
from mapdrop.study.conditions import Condition
from mapdrop.study.examples import save_example
from mapdrop.study.grid import Cell
from mapdrop.study.hard_images import HardImages, load_sheet, save_hard_images
from mapdrop.study.html_report import page
from mapdrop.study.joint_errors import hardest, medians, tails, typical
from mapdrop.study.rows import Row
from mapdrop.study.runner import RunResult
from mapdrop.study.verdict import findings
from tests.study.example_rows import IMAGES, study
from tests.study.test_report import NONE, SPATIAL, Reader, some_images


def rows(seeds: int = 3) -> list[Row]:
    """Return rows with random errors: joint 2 is the hardest but for one image of joint 0."""
    found, rng = study({NONE: (0.5,) * seeds, SPATIAL: (0.5,) * seeds}), np.random.default_rng(0)
    for row in found:
        if row["kind"] == "run":
            far = rng.uniform((1, 2, 6), (2, 3, 7), (IMAGES, 3))
            far[7, 0] = 50
            row["errors"]["test"] = far.tolist()
    return found


def test_a_joint_s_error_is_the_median_over_seeds() -> None:
    (found,) = findings(rows())
    of = found.runs[Condition(*SPATIAL)]
    columns = [[[image[k] for image in row["errors"]["test"]] for row in of] for k in range(3)]
    assert medians(of).tolist() == pytest.approx([median(map(median, c)) for c in columns])
    ninth = [median(sorted(far)[int(0.9 * IMAGES) - 1] for far in c) for c in columns]
    assert tails(of).tolist() == pytest.approx(ninth)


def test_what_is_hard_is_hard_for_all_networks() -> None:
    """One network alone is far off in image 3, and all are in image 7."""
    of = rows()
    next(row for row in of if row["kind"] == "run")["errors"]["test"][3][0] = 90.0
    (found,) = findings(of)
    chosen = hardest(found)
    assert list(chosen) == [2, 1, 0]
    assert chosen[0][0] == 7
    assert typical(found).distances[3, 0] < 3


def test_a_joint_that_no_test_image_has_is_a_dash() -> None:
    of = rows()
    for row in of:
        for image in row.get("errors", {}).get("test", []):
            image[2] = None
    (found,) = findings(of)
    assert list(hardest(found)) == [1, 0]
    assert np.isnan(medians(found.runs[found.base])).tolist() == [False, False, True]
    html = page(of, some_images(), [])
    first = "".join(f"<td>{medians(runs)[1]:.1f}</td>" for runs in found.runs.values())
    assert f"<tr><td>1</td><td>40</td>{first}</tr>\n<tr><td>0</td><td>40</td>" in html
    assert "<tr><td>2</td><td>0</td><td>-</td><td>-</td></tr>" in html


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what a study of scenes stores for its report, and no run was needed for."""
    folder = tmp_path_factory.mktemp("study")
    data = load("scenes", LoadOptions(train_size=4, test_size=IMAGES))
    save_hard_images(folder, data, rows())
    points = data.points[data.test].astype(np.float32) + 9
    heat_maps = np.zeros((3, 3, 24, 24), np.float32)
    for of in (NONE, SPATIAL):
        result = RunResult({}, heat_maps, points[:3], points)
        save_example(folder, Cell(Condition(*of), 32, 0), result)
    return folder


def test_the_images_stored_are_the_hardest(reported: Path) -> None:
    (found,), of = findings(rows()), rows()
    stored = HardImages.load(reported, of[0]["data"])
    data = load("scenes", LoadOptions(train_size=4, test_size=IMAGES))
    assert set(stored.numbers) == {image for of in hardest(found).values() for image in of}
    for number, image, points in zip(stored.numbers, stored.images, stored.points, strict=True):
        assert np.array_equal(image, data.images[data.test[number]])
        assert np.array_equal(points, data.points[data.test[number]])


def test_the_page_shows_them_with_what_was_found(reported: Path) -> None:
    of, notices = rows(), list[str]()
    (found,) = findings(of)
    conditions = [Condition(*NONE), Condition(*SPATIAL)]
    sheet = load_sheet(reported, of, found, conditions, notices.append)
    without = load_sheet(reported, of, found, conditions[:1], notices.append)
    assert notices == []
    assert sheet is not None
    assert without is not None
    orange = np.array([0xE6, 0x9F, 0x00])  # The second colour of Okabe and Ito's palette.
    assert (np.asarray(sheet) == orange).all(axis=-1).sum() > 15 * 25
    assert not (np.asarray(without) == orange).all(axis=-1).any()
    shown, plain = (Reader(page(of, some_images(), [], hard)) for hard in (sheet, None))
    assert len(shown.addresses) == len(plain.addresses) + 1
    assert "hardest for every dropout" in shown.text
    assert "hardest for every dropout" not in plain.text


def texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Return the sheet's titles, each with the texts below its pictures."""
    sections: list[Section] = []

    def recorded(heading: str, legend: Legend, of: Sequence[Section]) -> Image.Image:
        sections.extend(of)
        return sheet_of(heading, legend, of)

    monkeypatch.setattr(hard_images, "sheet_of", recorded)
    of = rows()
    of[0]["data"]["joints"] = ["0\x1b[2J", "1", "2"]
    (found,) = findings(of)
    assert load_sheet(folder, of, found, [], pytest.fail) is not None
    return [(section.title, [text for _, text in section.pictures]) for section in sections]


def test_pictures_are_named_by_the_ends_of_their_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users share the page, which need not tell where they keep their files."""
    data = load("scenes", LoadOptions(train_size=4, test_size=IMAGES))
    names = [f"/home/ann/lab/day1/{n}\x1b[2J.png" for n in range(len(data.images))]
    save_hard_images(tmp_path, replace(data, image_names=tuple(names)), rows())
    assert b"ann" not in np.load(tmp_path / "examples" / "hardest.npz")["names"].tobytes()[::4]
    (found,), shown = findings(rows()), dict(texts(tmp_path, monkeypatch))
    expected = {
        title: [rf"day1/{data.test[n]}\x1b[2J.png" for n in hardest(found)[joint]]
        for joint, title in ((2, "2"), (1, "1"), (0, r"0\x1b[2J"))
    }
    assert {title: [text.split("\n")[1] for text in of] for title, of in shown.items()} == expected


def test_pictures_without_stored_names_are_numbered(
    reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions stored none."""
    (tmp_path / "examples").mkdir()
    with np.load(reported / "examples" / "hardest.npz") as stored:
        old = {name: stored[name] for name in ("numbers", "images", "points")}
        np.savez(tmp_path / "examples" / "hardest.npz", **old)
    (found,), shown = findings(rows()), texts(tmp_path, monkeypatch)
    assert [text.split("\n")[1] for text in shown[0][1]] == [
        f"test image {number}" for number in hardest(found)[2]
    ]


def test_a_study_of_an_earlier_version_has_no_such_images(reported: Path, tmp_path: Path) -> None:
    of, notices = rows(), list[str]()
    (found,) = findings(of)
    assert load_sheet(tmp_path, of, found, [], notices.append) is None
    assert notices == []
    save_hard_images(tmp_path, load("scenes", LoadOptions(train_size=4, test_size=IMAGES)), of)
    np.savez(tmp_path / "examples" / "none-0-5-32.npz", heats=np.zeros(1), found=np.zeros(1))
    assert load_sheet(tmp_path, of, found, [Condition(*NONE)], notices.append) is not None
    assert notices == []


@pytest.mark.parametrize(
    "name", ["hardest.npz", "none-0-5-32.npz"], ids=["the images", "what was found"]
)
def test_what_is_damaged_is_told(name: str, reported: Path, tmp_path: Path) -> None:
    of, notices = rows(), list[str]()
    (found,) = findings(of)
    (tmp_path / "examples").mkdir()
    for path in (reported / "examples").iterdir():
        content = path.read_bytes()
        damaged = content[: len(content) // 2] if path.name == name else content
        (tmp_path / "examples" / path.name).write_bytes(damaged)
    sheet = load_sheet(tmp_path, of, found, [Condition(*NONE)], notices.append)
    assert (sheet is None) is (name == "hardest.npz")
    (notice,) = notices
    assert notice.startswith("without the hardest images: " if sheet is None else "without points")
    assert str(tmp_path / "examples" / name) in notice

"""The report of given rows."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from experiments.__main__ import readme
from mapdrop.localize.run.folder import new_folder
from mapdrop.study import plots
from mapdrop.study.conditions import Condition
from mapdrop.study.examples import Example, ExampleImages, save_example
from mapdrop.study.grid import Cell
from mapdrop.study.html_report import load_examples, page, write_report
from mapdrop.study.rows import Row, read_rows
from mapdrop.study.runner import RunResult
from mapdrop.study.summary import Estimate, chosen, failures, runs
from mapdrop.study.text_report import cells, differences, print_report, savings, table
from mapdrop.study.verdict import findings, limits, verdict
from mapdrop.system.printable import printable
from tests.study.example_rows import IMAGES, WRITTEN, condition, study, summary_metrics

NONE, SPATIAL = ("none", 0.0), ("spatial", 0.5)


def printed(rows: Sequence[Row], width: int) -> str:
    out = io.StringIO()
    print_report(Console(file=out, width=width), rows)
    return out.getvalue()


def lines(rows: Sequence[Row]) -> list[str]:
    return differences(rows, findings(rows)[-1])


def test_an_estimate_is_mean_and_standard_deviation() -> None:
    of = Estimate.of([1.0, 2.0, 3.0])
    assert (of.mean, of.spread, of.seeds) == (2, 1, 3)
    assert Estimate.of([7.0]) == Estimate(7, None, 1)


def test_a_dropout_that_helps_is_the_verdict() -> None:
    rows = study({NONE: (0.5, 0.52, 0.48), SPATIAL: (0.8, 0.82, 0.78), ("block", 0.2): (0.6,) * 3})
    assert verdict(rows).startswith(
        "On scenes with 32 training images the highest is spatial 0.5: +30.0 points of joints "
        "within 4 px (95 %: +2"
    )
    described = lines(rows)
    assert described[1].startswith("  spatial 0.5  +30.0  95 %: +2")
    assert described[1].endswith("; a difference")


def test_a_difference_within_chance_is_called_that() -> None:
    rows = study({NONE: (0.5, 0.52, 0.48), SPATIAL: (0.52, 0.5, 0.51)})
    assert "no dropout is shown to differ from none: the highest, spatial 0.5, is" in verdict(rows)
    assert lines(rows)[1].endswith("; within what chance does")


def test_the_verdict_says_so_when_no_dropout_wins() -> None:
    rows = study({NONE: (0.8, 0.81), SPATIAL: (0.5, 0.5), ("block", 0.2): (0.4, 0.4)})
    assert "no dropout is shown to help, and 2 of 2 to harm; the least harmful" in verdict(rows)
    assert "spatial 0.5, is -30.4 points" in verdict(rows)


def test_the_verdict_says_where_fewer_images_differ() -> None:
    even: dict[tuple[str, float], Sequence[float]]
    even = {NONE: (0.5, 0.52, 0.48), SPATIAL: (0.52, 0.5, 0.51)}
    helped: dict[tuple[str, float], Sequence[float]]
    helped = {NONE: (0.5, 0.52, 0.48), SPATIAL: (0.8, 0.82, 0.78)}

    def said(few: dict[tuple[str, float], Sequence[float]]) -> str:
        rows = study(few, train_size=8)
        return verdict([*rows, *(row for row in study(even) if row["kind"] == "run")])

    assert said(helped).startswith("On scenes with 32 training images no dropout is shown")
    ending = "With fewer images the highest that is shown to differ: spatial 0.5, +30.0 with 8."
    assert said(helped).endswith(ending)
    assert said(even).endswith("With fewer images no difference is shown.")
    assert "fewer" not in verdict(study(even))


def test_one_seed_shows_nothing() -> None:
    rows = study({NONE: (0.5,), SPATIAL: (0.9,)})
    assert "is shown to differ" in verdict(rows)
    assert "one seed: no difference is shown" in lines(rows)[1]
    assert "1 seed " in limits(rows)[0]
    assert "±" not in printed(rows, 100).splitlines()[6]


def test_rates_are_chosen_on_validation_and_reported_on_test() -> None:
    """Validation prefers 0.2, and test 0.7."""
    rates = {("spatial", 0.2): (0.55, 0.55), ("spatial", 0.7): (0.9, 0.9)}
    rows = study({NONE: (0.5, 0.5), **rates}, lambda drop, rate: 1 - rate)
    (found,) = findings(rows)
    assert [c.label for c in found.best] == ["none", "spatial 0.2"]
    assert found.differences[Condition("spatial", 0.2)].value == pytest.approx(5)
    assert "spatial 0.2 *" in printed(rows, 100)
    assert "spatial 0.7 *" not in printed(rows, 100)
    assert any("Rates were chosen on 10 validation images" in line for line in limits(rows))
    single = study({NONE: (0.5,), SPATIAL: (0.5,)})
    assert any("ran at one rate" in line for line in limits(single))
    assert chosen(runs(rows, 32), 4.0) == found.best


def test_only_seeds_that_ran_in_every_condition_count() -> None:
    rows = study({NONE: (0.5, 0.6), SPATIAL: (0.5, 0.6, 0.1)})
    (found,) = findings(rows)
    assert [len(of) for of in found.runs.values()] == [2, 2]
    rows.append(
        {
            "kind": "failed",
            **condition(*SPATIAL),
            "train_size": 32,
            "seed": 3,
            "error": "e",
            **WRITTEN,
        }
    )
    assert list(failures(rows).values()) == ["e"]
    assert "failed: spatial 0.5, 32 images, seed 3: e" in printed(rows, 100)
    assert any("1 run failed" in line for line in limits(rows))
    again = study({SPATIAL: (0.5,) * 4})[1:]
    assert failures([*rows, *again]) == {}


def test_a_study_that_has_hardly_begun_can_be_reported() -> None:
    rows = study({NONE: (0.5,), SPATIAL: ()})
    rows.append({**rows[2], "drop": "spatial", "rate": 0.5, "seed": 5})
    assert "nothing to compare" in verdict(rows)
    assert findings(rows) == []
    assert "nothing to compare" in printed(rows, 80)


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_of_the_table_is_cut_off(width: int) -> None:
    text = printed(study({NONE: (0, 1, 1), SPATIAL: (1, 0, 1), ("block", 0.25): (1, 1, 1)}), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for part in ("100.0 ±0.0", "66.7 ±57.7", "× none", "1.25", "block 0.25", "17"):
        assert part in text
    assert "Nothing is <proven>." in text


@pytest.mark.parametrize("width", [80, 120])
def test_long_names_are_wrapped_rather_than_cut(width: int) -> None:
    drops = ("none", "share=16", "share=16+balanced", "share=16+balanced+compact")
    text = printed(study({(drop, 0.5): (0, 1, 1) for drop in drops}), width)
    assert "…" not in text
    assert text.count("66.7 ±57.7") == 4 * 2
    terms = " ".join(text.split())
    assert "share: so many samples have one mask; balanced: " in terms
    assert "compact: dropped maps are not computed" in terms
    assert "block: " not in terms


def test_compact_is_compared_with_the_same_masks_computed_densely() -> None:
    rows = study({NONE: (0.5, 0.4), SPATIAL: (0.6, 0.5), ("spatial+compact", 0.5): (0.6, 0.5)})
    next(r for r in rows if r["kind"] == "timing" and "compact" in r["drop"])["ratio"] = 1.0
    (line,) = savings(rows, findings(rows)[0])
    assert line.startswith("spatial, compact 0.5 is spatial 0.5 with steps that take 0.80 of the")
    assert line.endswith("by what 300 steps make of rounding: +0.0.")
    alone = study({NONE: (0.5,), ("spatial+compact", 0.5): (0.6,), ("spatial", 0.2): (0.6,)})
    assert savings(alone, findings(alone)[0]) == []


def test_the_figures_of_a_condition_are_its_rows() -> None:
    rows = study({NONE: (0.5, 0.7)})
    (found,) = findings(rows)
    shown = cells(rows, found, found.base)
    assert shown == ["60.0 ±14.1"] * 2 + ["100.0 ±0.0"] * 2 + ["5.0 ±0.0", "1.25", "17"]
    assert table(rows, found).row_count == 1


class Reader(HTMLParser):
    """Collects a page's text, its addresses, and the elements that aren't closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def some_images() -> ExampleImages:
    rng = np.random.default_rng(0)
    points = rng.uniform(5, 90, (3, 3, 2))
    points[0, 1] = np.nan
    return ExampleImages(rng.integers(0, 255, (3, 96, 96, 3), dtype=np.uint8), points)


def an_example(of: Condition) -> Example:
    heat_maps = np.random.default_rng(1).random((3, 3, 12, 12), np.float32)
    return Example(of, heat_maps, np.full((3, 3, 2), 40, np.float32))


def test_the_page_is_complete_and_self_contained() -> None:
    few = study({NONE: (0.5, 0.4), SPATIAL: (0.6, 0.5)}, train_size=8)
    many = study({NONE: (0.7, 0.6), SPATIAL: (0.8, 0.9)})
    rows = [*few, *(row for row in many if row["kind"] == "run")]
    html = page(rows, some_images(), [an_example(Condition(*SPATIAL))])
    read = Reader(html)
    assert read.open == []
    assert len(read.addresses) == 6
    assert all(address.startswith("data:image/png;base64,") for address in read.addresses)
    text = " ".join(read.text.split())
    for part in (
        verdict(rows),
        "Nothing is <proven>.",
        "8 training images",
        "32 training images",
        "How many images does it take?",
        "What is dropped",
        "recipe.steps",
        "mapdrop",
        "65.0 ±7.1",
        *(line for line in limits(rows)),
    ):
        assert part in text, part
    assert "<proven>" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert "<script" not in html


def test_the_masks_shown_are_those_of_the_layers() -> None:
    figure = Figure()
    plots.masks(figure, [Condition(*SPATIAL), Condition("element", 0.2)])
    shown: list[Any] = [axis.images[0].get_array() for axis in figure.axes]
    assert len(shown) == 2 * plots.SAMPLES
    for number, image in enumerate(shown):
        maps: list[Any] = np.split(image, plots.MAPS, axis=1)
        assert all(of.mask[:, [0, -1]].all() for of in maps)  # What keeps them apart.
        means = [of.compressed().mean() for of in maps]
        if number < plots.SAMPLES:
            assert set(means) == {0, 1}
        else:
            assert all(0.6 < mean < 0.95 for mean in means)


def test_a_report_is_files_and_what_is_printed(tmp_path: Path) -> None:
    rows = study({NONE: (0.5, 0.4), SPATIAL: (0.6, 0.5)})
    some_images().save(tmp_path)
    out = io.StringIO()
    write_report(tmp_path, rows, Console(file=out, width=100))
    assert (tmp_path / "report.txt").read_text() in out.getvalue()
    assert verdict(rows) in " ".join((tmp_path / "report.html").read_text().split())
    with Image.open(tmp_path / "study.png") as picture:
        assert picture.width > 800
    assert not [path for path in tmp_path.iterdir() if "part" in path.name]


EXPERIMENTS = sorted(Path(__file__).parents[2].glob("experiments/*/rows.jsonl"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.parent.name)
def test_reports_of_the_experiments_follow_from_their_rows(path: Path) -> None:
    rows = read_rows(path)
    assert printed(rows, 100) == path.with_name("report.txt").read_text()
    # The rows are complete according to experiments.yaml.
    options = yaml.safe_load((path.parents[1] / "experiments.yaml").read_text())
    asked = options[path.parent.name]["options"]
    sizes = [int(size) for size in asked["train-size"].split(",")]
    assert [of.train_size for of in findings(rows)] == sizes
    assert {of.seeds for of in findings(rows)} == {asked["seeds"]}


def test_the_page_of_the_experiments_follows_from_their_rows() -> None:
    assert EXPERIMENTS
    page = EXPERIMENTS[0].parents[1] / "README.md"
    assert readme() == page.read_text(), "run: python -m experiments report"


def test_new_folders_are_numbered(tmp_path: Path) -> None:
    assert new_folder(tmp_path, "scenes") == tmp_path / "scenes-1"
    (tmp_path / "scenes-1").mkdir()
    assert new_folder(tmp_path, "scenes") == tmp_path / "scenes-2"


def test_written_rows_are_what_they_say() -> None:
    """Check the rows that these tests write themselves."""
    rows = study({NONE: (0.5,)})
    far = np.array(rows[-1]["errors"]["test"])
    assert far.shape == (IMAGES, 3)
    assert (far <= 4).mean() == summary_metrics(0.5)["pck"]["4"]


NAMES = {
    "markup": "mouse[/]",
    "another markup": "[bold red]mouse",
    "mathematics": "cost$_$",
    "one dollar": "a$b_c",
    "no UTF-8": os.fsdecode(b"caf\xe9"),
    "escape sequence": "\x1b[2J\x1b]0;title\x07mouse",
    "lines": "mouse\r\nno dropout is shown to help",
    "right to left": "mouse\u202eesuom",
    "underscore": "_mouse",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_name_is_reported_as_it_is(name: str, tmp_path: Path) -> None:
    rows = study({NONE: (0.5, 0.4), SPATIAL: (0.6, 0.5)})
    rows[0]["data"].update(name=name, joints=[name, "1", "2"], unit=name, limits=name)
    cell = {**condition(*SPATIAL), "train_size": 32, "seed": 3}
    rows.append({"kind": "failed", **cell, "error": name, **WRITTEN})
    some_images().save(tmp_path)
    out = io.StringIO()
    write_report(tmp_path, rows, Console(file=out, width=200))
    shown = printable(name)
    text, html = (tmp_path / "report.txt").read_text(), (tmp_path / "report.html").read_text()
    for output in (out.getvalue(), text):
        assert f"Which dropout for {shown}? 32 training images" in output
        assert f"seed 3: {shown}" in output
        assert f"px: {shown};" in " ".join(output.split())
        assert f"- {shown}\n" in output
    assert f"Which dropout for {shown}?" in Reader(html).text
    for output in (out.getvalue(), text, html):
        assert all(sign.isprintable() or sign == "\n" for sign in output)
    with Image.open(tmp_path / "study.png") as picture:
        assert picture.width > 800


DAMAGED = {
    "missing": None,
    "empty": b"",
    "torn": 0.5,
    "foreign": b"PK\x03\x04 is how such a file begins",
    "of other images": 0.0,
}


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a study with all its example images."""
    folder = tmp_path_factory.mktemp("study")
    some_images().save(folder)
    for of in (Condition(*NONE), Condition(*SPATIAL)):
        heat_maps, points = np.zeros((3, 3, 24, 24), np.float32), np.full((3, 3, 2), 40, np.float32)
        save_example(folder, Cell(of, 32, 0), RunResult({}, heat_maps, points, points))
    out = io.StringIO()
    write_report(folder, study({NONE: (0.5, 0.4), SPATIAL: (0.6, 0.5)}), Console(file=out))
    assert "without test images" not in out.getvalue()
    assert "without examples" not in out.getvalue()
    assert "What the networks see in test images" in (folder / "report.html").read_text()
    return folder


def damaged(reported: Path, folder: Path, name: str, content: bytes | float | None) -> Path:
    """Copy the examples of the reported study; return the one that the content replaces."""
    path = folder / "examples" / name
    shutil.copytree(reported / "examples", path.parent)
    if content is None:
        path.unlink()
    elif content == 0.0:
        np.savez(path, images=np.zeros((1, 4, 4, 3)), points=0, heats=0, found=0)
    else:
        half = path.read_bytes()[: path.stat().st_size // 2]
        path.write_bytes(content if isinstance(content, bytes) else half)
    return path


NOTICES = {
    "pictures.npz": "without test images",
    "spatial-0.5-5-32.npz": "without examples of spatial 0.5",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("name", NOTICES)
def test_images_that_cannot_be_read_are_left_out(
    name: str, content: bytes | float | None, reported: Path, tmp_path: Path
) -> None:
    path = damaged(reported, tmp_path, name, content)
    rows, notices = study({NONE: (0.5, 0.4), SPATIAL: (0.6, 0.5)}), list[str]()
    images, examples = load_examples(tmp_path, rows, findings(rows), notices.append)
    if content is None and name != "pictures.npz":
        assert notices == []  # The first seed of the condition failed, perhaps.
    else:
        (notice,) = notices
        assert notice.startswith(NOTICES[name])
        assert str(path) in notice
    left = 0 if name == "pictures.npz" else 1
    assert len(images.images) == len(images.points) == 3 * left
    assert [example.condition for example in examples] == [Condition(*NONE)] * left


@pytest.mark.parametrize("name", NOTICES)
def test_a_report_needs_no_images(name: str, reported: Path, tmp_path: Path) -> None:
    path, rows = (
        damaged(reported, tmp_path, name, b""),
        study({NONE: (0.5, 0.4), SPATIAL: (0.6, 0.5)}),
    )
    out = io.StringIO()
    write_report(tmp_path, rows, Console(file=out, width=300))
    assert NOTICES[name] in out.getvalue()
    assert str(path) in out.getvalue()
    page = (tmp_path / "report.html").read_text()
    assert verdict(rows) in " ".join(page.split())
    assert ("What the networks see in test images" in page) is (name != "pictures.npz")
    with Image.open(tmp_path / "study.png") as picture:
        assert picture.width > 800


def test_a_study_without_validation_images_is_reported() -> None:
    """Two labelled images train and test; none is left to choose a rate."""
    rates = {("spatial", 0.2): (0.55, 0.55), ("spatial", 0.7): (0.9, 0.9)}
    for results in ({NONE: (0.5,), SPATIAL: (0.6,)}, {NONE: (0.5, 0.5), **rates}):
        rows = study(results)
        rows[0]["data"]["validation"] = 0
        for row in rows:
            row.get("metrics", {}).pop("validation", None)
        (found,) = findings(rows)
        first = 0.5 if len(results) == 2 else 0.2
        assert found.best == [Condition(*NONE), Condition("spatial", first)]
        chose = any("No validation image chose among rates" in line for line in limits(rows))
        assert chose is (len(results) == 3)
        assert verdict(rows) in " ".join(printed(rows, 100).split())


def test_a_study_that_has_only_begun_can_be_reported(tmp_path: Path) -> None:
    rows = study({})
    out = io.StringIO()
    write_report(tmp_path, rows, Console(file=out, width=100))
    assert "there is nothing to compare" in out.getvalue()
    assert {path.name for path in tmp_path.iterdir()} == {"report.txt", "report.html"}

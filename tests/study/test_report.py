"""What the report says about given rows."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from mapdrop.study.report import differences, limits, print_report, savings
from mapdrop.study.rows import OutputExistsError, Row, RowFile, fresh_folder, read_rows
from mapdrop.study.summary import Estimate, best_of_each_drop


def measured(share: float) -> Row:
    return {"pck": {"4": share, "8": share}, "mean_error": 5.0, "median_error": 4.0}


def study(results: dict[tuple[str, float], Sequence[float]]) -> list[Row]:
    """Rows of a study whose test PCK at both radii is given for each condition and seed."""
    about = {
        "name": "scenes",
        "train": 32,
        "test": 128,
        "radii": [4.0, 8.0],
        "unit": "pixels",
        "limits": "Nothing is proven.",
    }
    settings = {"width": 16, "recipe": {"steps": 300}}
    rows: list[Row] = [
        {
            "kind": "study",
            "data": about,
            "guess": measured(0.1),
            "machine": {"threads": 2},
            "settings": settings,
        }
    ]
    for (drop, rate), shares in results.items():
        condition = {"drop": drop, "rate": rate, "block_size": 5}
        rows.append({"kind": "timing", **condition, "ratio": 1.25, "step_ms": 30.0, "rounds": 24})
        rows += [
            {
                "kind": "run",
                **condition,
                "seed": seed,
                "metrics": {"test": measured(share), "train": measured(1.0)},
            }
            for seed, share in enumerate(shares)
        ]
    return rows


def printed(rows: Sequence[Row], width: int) -> str:
    out = io.StringIO()
    print_report(Console(file=out, width=width), rows)
    return out.getvalue()


STUDIES = Path(__file__).parents[2] / "docs" / "study"
NONE, SPATIAL = ("none", 0.0), ("spatial", 0.5)


def test_an_estimate_is_mean_standard_deviation_and_t_interval() -> None:
    of = Estimate.of([1.0, 2.0, 3.0])
    assert (of.mean, of.spread, of.seeds) == (2, 1, 3)
    assert of.interval is not None
    # 4.303 is Student's t for 97.5 % and two degrees of freedom, in any table.
    assert of.interval[1] - of.mean == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert Estimate.of([7.0]) == Estimate(7, None, 1)
    assert Estimate.of([7.0]).interval is None


def test_differences_are_taken_seed_by_seed() -> None:
    """The spread between seeds is 30 points, the difference is 5 +- 0.1 for each of them."""
    lines = differences(study({NONE: (0.2, 0.5, 0.8), SPATIAL: (0.25, 0.551, 0.849)}))
    assert "Highest on test within 4 px: spatial 0.5." in lines[0]
    assert "+5.0 ±0.1" in lines[1]
    assert lines[1].endswith("a difference")


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((0.62, 0.5, 0.55), "+5.7 ±6.0; 95 %: -9.3 to +20.6, within the spread"),
        ((0.6, 0.55, 0.55), "+6.7 ±2.9; 95 %: -0.5 to +13.8, not settled by 3 seeds"),
        ((0.6, 0.58, 0.58), "+8.7 ±1.2; 95 %: +5.8 to +11.5, a difference"),
    ],
)
def test_a_difference_is_held_against_its_spread(shares: Sequence[float], verdict: str) -> None:
    lines = differences(study({NONE: (0.5, 0.5, 0.5), SPATIAL: shares}))
    assert lines[1] == f"  spatial 0.5  {verdict}"


def test_the_report_says_so_when_no_dropout_wins() -> None:
    lines = differences(study({NONE: (0.8, 0.8), SPATIAL: (0.5, 0.501)}))
    assert "Highest on test within 4 px: none." in lines[0]
    assert "-29.9" in lines[1]
    assert lines[1].endswith(", a difference")


def test_one_seed_shows_nothing() -> None:
    rows = study({NONE: (0.5,), SPATIAL: (0.9,)})
    assert "one seed, so no difference is shown" in differences(rows)[1]
    assert "1 seed " in limits(rows)[0]
    assert "±" not in printed(rows, 100).splitlines()[6]


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_of_the_table_is_cut_off(width: int) -> None:
    text = printed(study({NONE: (0, 1, 1), SPATIAL: (1, 0, 1), ("block", 0.25): (1, 1, 1)}), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for part in ("100.0 ±0.0", "66.7 ±57.7", "× none", "1.25", "block 0.25"):
        assert part in text
    assert "Nothing is proven." in text


@pytest.mark.parametrize("width", [80, 120])
def test_long_names_are_wrapped_rather_than_cut(width: int) -> None:
    drops = ("none", "share=16", "share=16+balanced", "share=16+balanced+compact")
    text = printed(study({(drop, 0.5): (0, 1, 1) for drop in drops}), width)
    assert "…" not in text
    assert text.count("66.7 ±57.7") == 4 * 2
    assert max(map(len, text.splitlines()[: text.splitlines().index("")])) <= width
    terms = " ".join(text.split())
    assert "share: so many samples have one mask; balanced: " in terms
    assert "compact: dropped maps are not computed" in terms
    assert "block: " not in terms


def test_compact_is_held_against_the_same_masks_computed_plainly() -> None:
    rows = study({NONE: (0.5, 0.4), SPATIAL: (0.6, 0.5), ("spatial+compact", 0.5): (0.6, 0.5)})
    next(r for r in rows if r["kind"] == "timing" and "compact" in r["drop"])["ratio"] = 1.0
    (line,) = savings(rows)
    assert line.startswith("spatial, compact 0.5 is spatial 0.5 with steps that take 0.80 of the")
    assert line.endswith("by what 300 steps make of rounding: +0.0 ±0.0.")
    assert line in " ".join(printed(rows, 120).split())
    alone = study({NONE: (0.5,), ("spatial+compact", 0.5): (0.6,), ("spatial", 0.2): (0.6,)})
    assert savings(alone) == []


@pytest.mark.parametrize("name", ["scenes", "mouse-openfield"])
def test_reports_of_earlier_studies_still_follow_from_their_rows(name: str) -> None:
    folder = STUDIES / name
    assert printed(read_rows(folder / "rows.jsonl"), 100) == (folder / "report.txt").read_text()


def test_several_rates_on_the_test_set_are_a_limit() -> None:
    one = study({NONE: (0.5,), SPATIAL: (0.5,)})
    two = study({SPATIAL: (0.5,), ("spatial", 0.2): (0.6,)})
    assert not any("looks too good" in line for line in limits(one))
    assert any("looks too good" in line for line in limits(two))
    assert [c.label for c in best_of_each_drop(two, 4.0)] == ["spatial 0.2"]


def test_rows_are_on_disk_as_soon_as_they_are_appended(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "new" / "folder")
    for number in range(3):
        file.append({"kind": "run", "n": number})
        assert (
            read_rows(file.path)
            == file.rows
            == [{"kind": "run", "n": n} for n in range(number + 1)]
        )


def test_a_row_that_is_no_json_is_refused_whole(tmp_path: Path) -> None:
    file = RowFile(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        file.append({"loss": math.nan})
    assert file.path.read_text() == ""
    assert file.rows == []


def test_an_earlier_study_is_left_alone(tmp_path: Path) -> None:
    RowFile(tmp_path).append({"kind": "run"})
    with pytest.raises(OutputExistsError, match="choose another --out"):
        RowFile(tmp_path)
    assert len(read_rows(tmp_path / "rows.jsonl")) == 1


def test_fresh_folders_are_counted(tmp_path: Path) -> None:
    assert fresh_folder(tmp_path, "scenes") == tmp_path / "scenes-1"
    (tmp_path / "scenes-1").mkdir()
    assert fresh_folder(tmp_path, "scenes") == tmp_path / "scenes-2"

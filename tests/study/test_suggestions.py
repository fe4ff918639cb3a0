"""The experiment with suggested frames: what it draws, and what it says of its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.suggestions import CHOICES, COUNT, LABELLED, SPLITS, TEST, Lab
from experiments.suggestions_report import findings
from tests.conftest import DATA, missing

MOUSE = DATA / "mouse-openfield"
IMAGES = 12
RISING = [{"spread": n / 10, "error": float(n)} for n in range(1, 9)]


def rows(errors: dict[str, float]) -> list[dict[str, Any]]:
    """Rows of 5 splits, in which every joint has an error, in pixels, by what was trained on."""
    return [
        {
            "split": split,
            "choice": choice,
            "errors": {"test": [[errors[choice], None]] * IMAGES},
            "left": RISING,
        }
        for split in range(SPLITS)
        for choice in CHOICES
    ]


def said(made: list[dict[str, Any]], folder: Path) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return "\n".join(findings(file))


@pytest.mark.parametrize(
    ("suggested", "random", "verdict"),
    [
        (2.0, 7.0, "teach more than random ones: +100.0 (+100.0 to +100.0) points within 5 px"),
        (7.0, 2.0, "teach less than random ones: -100.0 (-100.0 to -100.0) points within 5 px"),
        (2.0, 3.0, "are not shown to teach more or less than random ones: +0.0 (+0.0 to +0.0)"),
    ],
)
def test_the_verdict_follows(suggested: float, random: float, verdict: str, tmp_path: Path) -> None:
    text = said(rows({"start": 12.0, "suggested": suggested, "random": random}), tmp_path)
    assert f"Suggested frames {verdict}" in text
    assert "| 20 frames | 0.0 | 0.0 | 12.00 |" in text
    assert "rank correlation of 1.00 (1.00 to 1.00 over the splits)" in text
    assert "more uncertain half is 1.44 times that on all" in text  # 6.5 of 4.5.


def test_a_split_that_is_not_whole_is_left_out(tmp_path: Path) -> None:
    made = rows({"start": 12.0, "suggested": 2.0, "random": 3.0})[:-1]
    assert "36 test frames, 4 splits" in said(made, tmp_path)


def test_no_frame_is_in_two_parts_and_all_splits_have_one_test() -> None:
    if not MOUSE.exists():
        missing(f"{MOUSE}")
    drawn = [Lab(MOUSE, split, Path("unused")).frames() for split in range(2)]
    for frames in drawn:
        assert [len(frames[part]) for part in ("test", "start", "left")] == [TEST, LABELLED, 60]
        assert len(set().union(*frames.values())) == 116
        assert len(frames["left"]) >= COUNT
    assert drawn[0]["test"] == drawn[1]["test"]
    assert drawn[0]["start"] != drawn[1]["start"]

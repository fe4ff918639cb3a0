"""Reproduce the published PCKh of the paper's authors' predictions on MPII's validation.

The figures are those of the evaluation that MPII publishes, run on these predictions; the ways
to be wrong that are listed below must miss them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapdrop.localize.metrics import Scores, pck, pckh, pdj
from mapdrop.localize.scores import Array
from tests.conftest import framework

JOINTS = (
    "right ankle",
    "right knee",
    "right hip",
    "left hip",
    "left knee",
    "left ankle",
    "pelvis",
    "thorax",
    "upper neck",
    "head top",
    "right wrist",
    "right elbow",
    "right shoulder",
    "left shoulder",
    "left elbow",
    "left wrist",
)
COUNTED = tuple(joint for joint in JOINTS if joint not in ("pelvis", "thorax"))
PAIRS = {"head": ("upper neck", "head top")} | {
    part: (f"right {part}", f"left {part}")
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
}
SIDES = {"left": "right", "right": "left"}
OF_PAIRS = {
    "head": 96.6,
    "shoulder": 92.7,
    "elbow": 83.4,
    "wrist": 76.7,
    "hip": 81.9,
    "knee": 73.3,
    "ankle": 65.4,
}
TOTALS = {0.1: 28.9, 0.2: 58.4, 0.5: 82.3}


@dataclass(frozen=True)
class Mpii:
    """Load predictions and truth (2958, 16, 2), absent joints at (0, 0); head sizes; visibility."""

    predicted: Array
    points: Array
    heads: Array
    visible: Array

    @property
    def truth(self) -> Array:
        return np.where((self.points == 0).all(axis=-1, keepdims=True), np.nan, self.points)


@pytest.fixture(scope="module")
def mpii(data: Path) -> Mpii:
    h5py: Any = framework("h5py")
    folder = data / "mpii-validation"
    with h5py.File(folder / "valid.h5") as valid, h5py.File(folder / "tompson.h5") as tompson:
        # The file's axes are coordinates, joints, frames.
        predicted = tompson["preds"][:].transpose(2, 1, 0)
        return Mpii(predicted, valid["part"][:], valid["normalize"][:], valid["visible"][:])


Metric = Callable[[Mpii, Array], Scores]


def measured(of: Mpii, thresholds: Array) -> Scores:
    return pckh(of.predicted, of.truth, JOINTS, of.heads, thresholds).only(COUNTED)


def percent(share: float | np.floating[Any]) -> float:
    return round(100 * float(share), 1)


def prove_figures(metric: Metric, mpii: Mpii) -> None:
    """Every value agrees to the last digit."""
    scores = metric(mpii, np.array(list(TOTALS)))
    assert {t: percent(share) for t, share in zip(TOTALS, scores.total, strict=True)} == TOTALS
    at_half = scores.at(0.5)
    for pair, expected in OF_PAIRS.items():
        assert percent(np.mean([at_half[joint] for joint in PAIRS[pair]])) == expected
        # The evaluation's mean of two, above, and both joints pooled agree to this digit.
        assert percent(scores.only(PAIRS[pair]).total[-1]) == expected


def prove_tie(metric: Metric, mpii: Mpii) -> None:
    """A joint exactly as far off as the threshold is found: the evaluation compares by <=.

    No distance of these is exactly 0.1, 0.2 or 0.5 heads, so that the figures can't tell <= from <.
    The largest distance there is, as threshold, does: every joint is within it.
    """
    off = mpii.predicted - mpii.truth
    far = np.hypot(off[..., 0], off[..., 1]) / mpii.heads[:, None]
    furthest = np.nanmax(far[:, [JOINTS.index(joint) for joint in COUNTED]])
    assert metric(mpii, np.array([furthest])).total == 1


def test_the_authors_predictions_give_the_official_figures(mpii: Mpii) -> None:
    assert (mpii.predicted.shape, mpii.points.shape) == ((2958, 16, 2), (2958, 16, 2))
    prove_figures(measured, mpii)
    prove_tie(measured, mpii)


def test_the_figures_count_every_annotated_joint(mpii: Mpii) -> None:
    scores = measured(mpii, np.array([0.5]))
    assert (scores.frames, scores.left_out) == (2958, 0)
    assert scores.annotated.sum() == 38430
    assert percent(scores.total[0]) == 82.3
    assert scores.found.sum() == 31634
    # A mean of the joints' own values would differ.
    assert percent(scores.per_joint.mean()) == 81.4


def test_the_area_under_the_evaluation_s_curve(mpii: Mpii) -> None:
    """55.8 % by NumPy's trapezoids; the authors' area on these images is not published."""
    scores = measured(mpii, np.linspace(0, 0.5, 51))
    assert percent(scores.auc()["total"]) == 55.8


def opposite(joint: str) -> str:
    side, _, part = joint.partition(" ")
    return f"{SIDES[side]} {part}" if side in SIDES else joint


def swapped(mpii: Mpii, thresholds: Array) -> Scores:
    mirrored = [JOINTS.index(opposite(joint)) for joint in JOINTS]
    return measured(replace(mpii, predicted=mpii.predicted[:, mirrored]), thresholds)


def in_pixels(mpii: Mpii, thresholds: Array) -> Scores:
    return pck(mpii.predicted, mpii.truth, JOINTS, thresholds).only(COUNTED)


def by_the_torso(mpii: Mpii, thresholds: Array) -> Scores:
    return pdj(mpii.predicted, mpii.truth, JOINTS, ("left shoulder", "right hip"), thresholds).only(
        COUNTED
    )


def strict(mpii: Mpii, thresholds: Array) -> Scores:
    """Count distances below the threshold only, excluding equality."""
    return measured(mpii, np.nextafter(thresholds, 0))


def one_threshold_early(mpii: Mpii, thresholds: Array) -> Scores:
    """Use the neighbour in MPII's 0:0.01:0.5, so that at(0.5) has another value."""
    return replace(measured(mpii, thresholds - 0.01), thresholds=thresholds)


def one_pixel_off(mpii: Mpii, thresholds: Array) -> Scores:
    """Mix coordinates that start at 1 with some that start at 0."""
    return measured(replace(mpii, predicted=mpii.predicted - 1), thresholds)


def absent_at_zero(mpii: Mpii, thresholds: Array) -> Scores:
    """Treat joints that aren't annotated as if they were at (0, 0)."""
    return pckh(mpii.predicted, mpii.points, JOINTS, mpii.heads, thresholds).only(COUNTED)


def only_positive(mpii: Mpii, thresholds: Array) -> Scores:
    """Drop annotated joints at or beyond the image's upper and left edge."""
    inside = np.where((mpii.points > 0).all(axis=-1, keepdims=True), mpii.points, np.nan)
    return pckh(mpii.predicted, inside, JOINTS, mpii.heads, thresholds).only(COUNTED)


def only_visible(mpii: Mpii, thresholds: Array) -> Scores:
    seen = np.where(mpii.visible[..., None] == 1, mpii.truth, np.nan)
    return pckh(mpii.predicted, seen, JOINTS, mpii.heads, thresholds).only(COUNTED)


def every_joint(mpii: Mpii, thresholds: Array) -> Scores:
    """Count pelvis and thorax, which the authors don't predict."""
    return pckh(mpii.predicted, mpii.truth, JOINTS, mpii.heads, thresholds)


def joints_alike(mpii: Mpii, thresholds: Array) -> Scores:
    """Make the total the mean of the joints' values."""

    class Alike(Scores):
        @property
        def total(self) -> Array:
            return np.asarray(self.per_joint.mean(axis=1), np.float64)

    return Alike(**vars(measured(mpii, thresholds)))


WRONG = (
    swapped,
    in_pixels,
    by_the_torso,
    one_threshold_early,
    one_pixel_off,
    absent_at_zero,
    only_positive,
    only_visible,
    every_joint,
    joints_alike,
)


@pytest.mark.parametrize("metric", WRONG, ids=lambda metric: metric.__name__)
def test_a_wrong_metric_gives_other_figures(metric: Metric, mpii: Mpii) -> None:
    with pytest.raises(AssertionError):
        prove_figures(metric, mpii)


def test_a_strict_threshold_is_found_out_by_the_tie_alone(mpii: Mpii) -> None:
    prove_figures(strict, mpii)
    with pytest.raises(AssertionError):
        prove_tie(strict, mpii)

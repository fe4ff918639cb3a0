"""Properties for any poses, and PCK against a second implementation in plain loops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mapdrop.localize.metrics import Scores, length, pck, pckh, pdj, pixel_errors
from mapdrop.localize.scores import Array

NAN = float("nan")


@dataclass(frozen=True)
class Poses:
    """Draw integers, so that ties occur and shifts are exact."""

    predicted: Array
    truth: Array
    lengths: Array

    @property
    def joints(self) -> tuple[str, ...]:
        return tuple(f"joint {k}" for k in range(self.truth.shape[1]))

    def pck(self, thresholds: Any) -> Scores:
        return pck(self.predicted, self.truth, self.joints, thresholds, self.lengths)


NUMBERS = st.sampled_from([*map(float, range(-6, 7)), NAN])
LENGTHS = st.sampled_from([1.0, 2.0, 4.0, 10.0, 0.0, NAN])
LIMITS = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.5, 5.0, 40.0]), min_size=1, max_size=4)


@st.composite
def poses(draw: st.DrawFn, least_joints: int = 1) -> Poses:
    frames, joints = draw(st.integers(1, 5)), draw(st.integers(least_joints, 4))
    points = [draw(arrays(np.float64, (frames, joints, 2), elements=NUMBERS)) for _ in range(2)]
    lengths = draw(arrays(np.float64, frames, elements=LENGTHS))
    assume(not np.isnan(points[1][lengths > 0]).any(axis=-1).all())
    return Poses(points[0], points[1], lengths)


def same(one: Scores, other: Scores) -> None:
    np.testing.assert_array_equal(one.found, other.found)
    np.testing.assert_array_equal(one.annotated, other.annotated)
    assert (one.frames, one.left_out) == (other.frames, other.left_out)


@dataclass
class Loops:
    """Compute PCK in plain loops, frame by frame and joint by joint."""

    found: list[list[int]]
    annotated: list[int]
    left_out: int = 0

    @classmethod
    def over(cls, of: Poses, thresholds: list[float], strict: bool = False) -> Loops:
        frames, joints, _ = of.truth.shape
        made = cls([[0] * joints for _ in thresholds], [0] * joints)
        for n in range(frames):
            unit = float(of.lengths[n])
            if math.isnan(unit) or unit == 0:
                made.left_out += 1
                continue
            for k in range(joints):
                x, y = map(float, of.truth[n, k])
                if math.isnan(x) or math.isnan(y):
                    continue
                made.annotated[k] += 1
                off = math.dist((x, y), of.predicted[n, k].tolist()) / unit
                for t, limit in enumerate(thresholds):
                    # NaN (not predicted) is neither below nor equal to any limit.
                    made.found[t][k] += off < limit or (off == limit and not strict)
        return made


@given(poses(), LIMITS)
def test_pck_is_what_plain_loops_count(of: Poses, thresholds: list[float]) -> None:
    scores, loops = of.pck(thresholds), Loops.over(of, thresholds)
    assert scores.found.tolist() == loops.found
    assert scores.annotated.tolist() == loops.annotated
    assert scores.left_out == loops.left_out
    for t in range(len(thresholds)):
        assert scores.total[t] == sum(loops.found[t]) / sum(loops.annotated)


def test_the_loops_would_notice_a_strict_threshold() -> None:
    of = Poses(np.array([[[3.0, 4.0]]]), np.zeros((1, 1, 2)), np.array([10.0]))
    assert of.pck([0.5]).found.tolist() == Loops.over(of, [0.5]).found == [[1]]
    assert Loops.over(of, [0.5], strict=True).found == [[0]]


@given(poses(least_joints=2), LIMITS)
def test_pdj_is_pck_whose_lengths_are_the_torso_s(of: Poses, thresholds: list[float]) -> None:
    diagonals = [math.dist(*map(np.ndarray.tolist, frame[:2])) for frame in of.truth]
    by_torso = Poses(of.predicted, of.truth, np.array(diagonals))
    np.testing.assert_array_equal(length(of.truth, of.joints, *of.joints[:2]), by_torso.lengths)
    assume((by_torso.lengths > 0).any())
    torso = (of.joints[0], of.joints[1])
    scores = pdj(of.predicted, of.truth, of.joints, torso, thresholds)
    same(scores, by_torso.pck(thresholds))
    assert scores.found.tolist() == Loops.over(by_torso, thresholds).found


@given(poses(), LIMITS)
def test_pckh_is_pck_whose_lengths_are_heads(of: Poses, thresholds: list[float]) -> None:
    same(pckh(of.predicted, of.truth, of.joints, of.lengths, thresholds), of.pck(thresholds))


@given(poses(), LIMITS, st.tuples(st.integers(-99, 99), st.integers(-99, 99)))
def test_where_the_origin_lies_does_not_matter(
    of: Poses, thresholds: list[float], by: tuple[int, int]
) -> None:
    moved = Poses(of.predicted + by, of.truth + by, of.lengths)
    same(moved.pck(thresholds), of.pck(thresholds))
    assert _means(moved) == pytest.approx(_means(of), nan_ok=True)


@given(poses(), LIMITS, st.sampled_from([0.25, 0.5, 2.0, 1024.0]))
def test_the_size_of_the_image_matters_to_pixels_only(
    of: Poses, thresholds: list[float], by: float
) -> None:
    """Scale by powers of two, which is exact, so ties stay ties."""
    scaled = Poses(by * of.predicted, by * of.truth, by * of.lengths)
    same(scaled.pck(thresholds), of.pck(thresholds))
    expected = {joint: by * mean for joint, mean in _means(of).items()}
    assert _means(scaled) == pytest.approx(expected, nan_ok=True)


@given(poses(), LIMITS, st.randoms(use_true_random=False))
def test_the_order_of_frames_does_not_matter(
    of: Poses, thresholds: list[float], random: Any
) -> None:
    order = list(range(len(of.truth)))
    random.shuffle(order)
    turned = Poses(of.predicted[order], of.truth[order], of.lengths[order])
    same(turned.pck(thresholds), of.pck(thresholds))


@given(poses(least_joints=2), LIMITS)
def test_figures_follow_their_joints(of: Poses, thresholds: list[float]) -> None:
    names = of.joints[::-1]
    turned = pck(of.predicted[:, ::-1], of.truth[:, ::-1], names, thresholds, of.lengths)
    same(turned, of.pck(thresholds).only(names))


@given(poses(), LIMITS)
def test_a_wider_threshold_never_finds_less(of: Poses, thresholds: list[float]) -> None:
    scores = of.pck(sorted(thresholds))
    assert (np.diff(scores.found, axis=0) >= 0).all()
    assert (scores.found <= scores.annotated).all()


@given(poses())
def test_the_area_lies_between_the_first_and_the_last_share(of: Poses) -> None:
    scores = of.pck([0, 0.5, 1, 5])
    areas = scores.auc()
    for joint, area in areas.items():
        low, high = scores.at(0)[joint], scores.at(5)[joint]
        if math.isnan(low):
            assert math.isnan(area)
        else:
            assert 0 <= low <= area + 1e-12
            assert area <= high + 1e-12
            assert high <= 1
    at_once = Poses(of.truth, of.truth, of.lengths).pck([0, 0.5, 1, 5])
    assert at_once.auc()["total"] == pytest.approx(1)


@given(poses())
def test_a_finer_curve_has_the_area_of_the_mean_distance(of: Poses) -> None:
    """The area under a curve up to 1 is the mean of 1 - distance, where that is positive."""
    steps = np.linspace(0, 1, 4001)
    x, y = np.moveaxis(of.predicted - of.truth, -1, 0)
    usable = of.lengths > 0
    far = np.hypot(x, y)[usable] / of.lengths[usable, None]
    there = ~np.isnan(of.truth[usable]).any(axis=-1)
    gains = np.where(np.isnan(far), 0, np.maximum(1 - far, 0))[there]
    assert of.pck(steps).auc()["total"] == pytest.approx(gains.mean(), abs=1e-3)


@given(poses())
def test_the_mean_error_is_what_plain_loops_add_up(of: Poses) -> None:
    means = _means(of)
    every = []
    for k, joint in enumerate(of.joints):
        pairs = zip(of.predicted[:, k].tolist(), of.truth[:, k].tolist(), strict=True)
        far = [math.dist(guess, true) for guess, true in pairs if not math.isnan(sum(true))]
        far = [math.inf if math.isnan(distance) else distance for distance in far]
        every += far
        expected = sum(far) / len(far) if far else NAN
        assert means[joint] == pytest.approx(expected, nan_ok=True)
    assert means["total"] == pytest.approx(sum(every) / len(every))


def _means(of: Poses) -> dict[str, float]:
    return pixel_errors(of.predicted, of.truth, of.joints).mean()

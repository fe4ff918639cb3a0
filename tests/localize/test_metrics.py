"""The metrics: values worked out by hand, the rules for NaN, and invalid arguments."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from mapdrop.localize import metrics
from mapdrop.localize.metrics import Scores, distances, length, pck, pckh, pdj, pixel_errors
from mapdrop.localize.scores import PixelErrors

NAN, INF = float("nan"), float("inf")
JOINTS = ("hip", "knee")
TRUTH = np.array([[[0.0, 0.0], [10.0, 10.0]], [[5.0, 5.0], [NAN, NAN]]])
FOUND = np.array([[[3.0, 4.0], [10.0, 10.0]], [[5.0, 17.0], [0.0, 0.0]]])


def test_distances_of_joints_and_nan_where_one_is_missing() -> None:
    np.testing.assert_array_equal(distances(FOUND, TRUTH), [[5, 0], [12, NAN]])


@pytest.mark.parametrize(
    ("radius", "share"), [(0, 1 / 3), (4.99, 1 / 3), (5, 2 / 3), (11.9, 2 / 3), (12, 1)]
)
def test_pck_counts_errors_up_to_and_at_the_radius(radius: float, share: float) -> None:
    assert pck(FOUND, TRUTH, JOINTS, radius).total.tolist() == [share]


def test_pck_divides_each_frame_by_its_own_length() -> None:
    scores = pck(FOUND, TRUTH, JOINTS, [0.5, 3], lengths=[10, 4])
    np.testing.assert_array_equal(scores.found, [[1, 1], [2, 1]])
    np.testing.assert_array_equal(scores.annotated, [2, 1])
    assert scores.at(0.5) == {"hip": 0.5, "knee": 1, "total": 2 / 3}
    assert scores.at(3) == {"hip": 1, "knee": 1, "total": 1}


def test_the_total_weighs_joints_not_their_names() -> None:
    scores = pck(FOUND, TRUTH, JOINTS, 0)
    assert scores.per_joint.tolist() == [[0, 1]]
    assert scores.total.tolist() == [1 / 3]


def test_pckh_is_pck_by_the_head() -> None:
    scores = pckh(FOUND, TRUTH, JOINTS, [10, 23.9])
    assert scores.thresholds.tolist() == [0.5]
    assert scores.found.tolist() == [[1, 1]]


def test_length_is_measured_in_the_truth() -> None:
    np.testing.assert_array_equal(length(TRUTH, JOINTS, "knee", "hip"), [np.hypot(10, 10), NAN])


def test_pdj_is_pck_by_the_torso_s_diagonal() -> None:
    """The second frame has no torso and is left out, although its hip is annotated."""
    torso = np.hypot(10, 10)
    for limit in (5 / torso, np.nextafter(5 / torso, 0)):
        scores = pdj(FOUND, TRUTH, JOINTS, ("hip", "knee"), limit)
        expected = pck(FOUND, TRUTH, JOINTS, limit, lengths=[torso, NAN])
        assert scores.found.tolist() == expected.found.tolist() == [[limit == 5 / torso, 1]]
        assert (scores.frames, scores.left_out) == (2, 1)
    assert pdj(FOUND, TRUTH, JOINTS, ("hip", "knee")).thresholds.tolist() == [0.2]


def test_pixel_errors_by_hand() -> None:
    errors = pixel_errors(FOUND, TRUTH, JOINTS)
    assert errors.mean() == {"hip": 8.5, "knee": 0, "total": 17 / 3}
    assert errors.median() == {"hip": 8.5, "knee": 0, "total": 5}


# Missing joints and missing predictions.


def test_half_a_label_is_no_label() -> None:
    truth = [[[NAN, 7.0], [0.0, 0.0]]]
    np.testing.assert_array_equal(distances([[[0, 7], [3, 4]]], truth), [[NAN, 5]])


@pytest.mark.parametrize("lost", [(NAN, NAN), (NAN, 0), (0, NAN), (INF, 0), (INF, NAN)], ids=str)
def test_what_was_not_predicted_is_a_miss_at_every_threshold(lost: tuple[float, float]) -> None:
    found = np.array([[lost, (1.0, 0.0)]])
    truth = np.zeros((1, 2, 2))
    scores = pck(found, truth, JOINTS, [0, np.finfo(float).max], lengths=[1])
    assert scores.annotated.tolist() == [1, 1]
    assert scores.found.tolist() == [[0, 0], [0, 1]]
    errors = pixel_errors(found, truth, JOINTS)
    assert errors.mean() == errors.median() == {"hip": INF, "knee": 1, "total": INF}


def test_a_missing_joint_counts_nowhere_whatever_was_predicted() -> None:
    answers = []
    for wild in (0.0, 1e308, INF, NAN):
        found = FOUND.copy()
        found[1, 1] = wild
        scores = pck(found, TRUTH, JOINTS, [0, 5], lengths=[1, 2])
        errors = pixel_errors(found, TRUTH, JOINTS)
        answers.append((scores.found.tolist(), scores.annotated.tolist(), errors.mean()))
    assert answers == [answers[0]] * 4


def test_the_median_bears_a_joint_that_was_not_predicted() -> None:
    found = np.array([[[1.0, 0]], [[NAN, 0]], [[3.0, 0]]])
    assert pixel_errors(found, np.zeros((3, 1, 2)), ["hip"]).median() == {"hip": 3, "total": 3}


def test_a_joint_that_is_never_annotated_has_no_figure() -> None:
    truth = np.array([[[0.0, 0.0], [NAN, NAN]]])
    scores = pck(truth, truth, JOINTS, [0, 1])
    assert scores.total.tolist() == [1, 1]
    assert np.isnan(scores.per_joint[:, 1]).all()
    assert np.isnan(scores.auc()["knee"])
    assert np.isnan(scores.only(["knee"]).total).all()
    errors = pixel_errors(truth, truth, JOINTS)
    assert np.isnan([errors.mean()["knee"], errors.median()["knee"]]).all()
    assert errors.mean()["total"] == 0


@pytest.mark.parametrize("none", [NAN, 0.0, -0.0], ids=str)
def test_a_frame_without_a_length_is_left_out_and_counted(none: float) -> None:
    scores = pck(FOUND, TRUTH, JOINTS, [0, 12], lengths=[none, 1])
    assert (scores.frames, scores.left_out) == (2, 1)
    assert scores.annotated.tolist() == [1, 0]
    assert scores.found.tolist() == [[0, 0], [1, 0]]
    assert "1 of 2 frames" in str(scores)
    assert "frames" not in str(pck(FOUND, TRUTH, JOINTS, [0, 12], lengths=[1, 1]))


def test_a_wild_prediction_is_a_miss_and_no_warning() -> None:
    found = np.full((1, 1, 2), np.finfo(float).max)
    assert pixel_errors(found, np.zeros((1, 1, 2)), ["hip"]).mean()["hip"] == INF


def test_the_tiniest_length_makes_misses_not_warnings() -> None:
    assert pck(FOUND, TRUTH, JOINTS, 1e9, lengths=[5e-324, 1]).found.tolist() == [[1, 1]]


# Tables.


def test_the_area_by_hand() -> None:
    """The curve goes from 1/3 at 0 to 2/3 at 5 and 1 at 15."""
    scores = pck(FOUND, TRUTH, JOINTS, [0, 5, 15])
    area = (5 * (1 / 3 + 2 / 3) / 2 + 10 * (2 / 3 + 1) / 2) / 15
    hip = (5 * (0 + 1 / 2) / 2 + 10 * (1 / 2 + 1) / 2) / 15
    assert scores.auc() == pytest.approx({"hip": hip, "knee": 1, "total": area})


def test_only_takes_joints_by_name_in_the_given_order() -> None:
    scores = pck(FOUND, TRUTH, JOINTS, [0, 5], lengths=[1, NAN])
    turned = scores.only(["knee", "hip"])
    assert turned.joints == ("knee", "hip")
    assert turned.found.tolist() == [[1, 0], [1, 1]]
    assert scores.only(["hip"]).total.tolist() == [0, 1]
    assert (turned.frames, turned.left_out) == (2, 1)


def test_a_threshold_is_known_by_its_value_not_its_last_bit() -> None:
    scores = pck(FOUND, TRUTH, JOINTS, [0, 0.1 + 0.2, 100])
    assert scores.thresholds[1] != 0.3
    assert scores.at(0.3)["total"] == scores.total[1] != scores.total[2]
    with pytest.raises(ValueError, match="there is no threshold"):
        scores.at(0.3000001)


# Invalid arguments and their messages.

GOOD: dict[str, Any] = {
    "predicted": FOUND,
    "truth": TRUTH,
    "joints": JOINTS,
    "thresholds": 0.5,
    "lengths": [1, 1],
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"predicted": FOUND[:1]}, r"one shape, got \(1, 2, 2\) and \(2, 2, 2\)"),
        ({"predicted": FOUND[0]}, r"predicted must be of shape \(N, K, 2\).*got \(2, 2\)"),
        ({"truth": np.zeros((2, 2, 3))}, r"truth must be of shape \(N, K, 2\).*got \(2, 2, 3\)"),
        ({"truth": np.full((2, 2, 2), INF)}, "write NaN for a joint that is missing"),
        ({"truth": np.full((2, 2, 2), NAN)}, "no joint is annotated"),
        ({"predicted": np.zeros((0, 2, 2)), "truth": np.zeros((0, 2, 2))}, "no joint is annotated"),
        ({"joints": ("hip",)}, "name each of the 2 joints, got 1: hip"),
        ({"joints": ("hip", "hip")}, "different names.*got hip, hip"),
        ({"joints": ("hip", "total")}, "none of them 'total'"),
        ({"thresholds": []}, r"one or more finite numbers from 0, got \[\]"),
        ({"thresholds": [0.5, -0.1]}, r"finite numbers from 0, got \[0.5, -0.1\]"),
        ({"thresholds": NAN}, "finite numbers from 0, got nan"),
        ({"thresholds": INF}, "finite numbers from 0, got inf"),
        ({"thresholds": [[0.5]]}, r"finite numbers from 0, got \[\[0.5\]\]"),
        ({"lengths": 7.0}, r"one for each of 2 frames, got \(\)"),
        ({"lengths": [[1], [1]]}, r"one for each of 2 frames, got \(2, 1\)"),
        ({"lengths": [1, -2]}, "not negative.*got -2"),
        ({"lengths": [1, -0.5]}, "not negative.*got -0.5"),
        ({"lengths": [0, -2]}, "not negative.*got -2"),
        ({"lengths": [INF, -2]}, "not negative.*got inf"),
        ({"lengths": [INF, 1]}, "finite and not negative.*got inf"),
        ({"lengths": [0, NAN]}, "2 of 2 frames have a length of NaN or 0"),
    ],
    ids=str,
)
def test_pck_refuses_what_does_not_fit(wrong: dict[str, Any], message: str) -> None:
    assert pck(**GOOD).frames == 2
    with pytest.raises(ValueError, match=message):
        pck(**{**GOOD, **wrong})


def scores() -> Scores:
    return pck(FOUND, TRUTH, JOINTS, [0.1, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pdj(FOUND, TRUTH, JOINTS, ("hip", "neck")), "called 'neck'; there are hip, knee"),
        (lambda: length(TRUTH, JOINTS, "hip", "hip"), "two different joints, got 'hip' twice"),
        (lambda: length(TRUTH * INF, JOINTS, "hip", "knee"), "infinite coordinate"),
        (lambda: length(TRUTH, ["hip"], "hip", "knee"), "name each of the 2 joints"),
        (lambda: pixel_errors(FOUND, TRUTH, ["hip"]), "name each of the 2 joints"),
        (lambda: scores().at(0.3), "there is no threshold 0.3, only 0.1, 0.5"),
        (lambda: scores().only(["neck"]), "called 'neck'; there are hip, knee"),
        (lambda: scores().only(["hip", "hip"]), "different names"),
        (lambda: scores().auc(), "thresholds that rise from 0.*got 0.1, 0.5"),
        (lambda: pck(FOUND, TRUTH, JOINTS, 0).auc(), "thresholds that rise from 0.*got 0"),
        (lambda: pck(FOUND, TRUTH, JOINTS, [0, 2, 1]).auc(), "rise from 0.*got 0, 2, 1"),
    ],
)
def test_names_and_thresholds_that_are_not_there(call: Callable[[], Any], message: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["pck", "pckh", "pdj", "pixel_errors", "length", "distances"])
def test_a_public_function_s_example_runs(name: str) -> None:
    examples = doctest.DocTestFinder().find(getattr(metrics, name), name, metrics)
    runner = doctest.DocTestRunner()
    for example in examples:
        runner.run(example)
    assert (runner.tries > 0, runner.failures) == (True, 0)


# What the figures' functions return by themselves.


def test_labels_are_counted_joint_by_joint() -> None:
    assert pixel_errors(FOUND, TRUTH, JOINTS).labels.tolist() == [2, 1]
    assert pixel_errors(FOUND[:1], TRUTH[:1], JOINTS).labels.tolist() == [1, 1]


def test_a_percentile_is_the_smallest_error_that_suffices() -> None:
    found = np.array([[[float(n), 0.0]] for n in (4, 1, 3, 2)])
    errors = pixel_errors(found, np.zeros((4, 1, 2)), ["hip"])
    for percent, error in {0: 1, 25: 1, 26: 2, 50: 2, 90: 4, 100: 4}.items():
        assert errors.percentile(percent) == {"hip": error, "total": error}


def test_equal_thresholds_have_no_area() -> None:
    with pytest.raises(ValueError, match=r"rise from 0.*got 0, 1, 1"):
        pck(FOUND, TRUTH, JOINTS, [0, 1, 1]).auc()
    halves = pck(FOUND, TRUTH, JOINTS, [0, 2.5, 5])
    assert halves.auc()["knee"] == 1


def test_a_threshold_of_0_is_not_one_of_nearly_0() -> None:
    tiny = pck(FOUND, TRUTH, JOINTS, [1e-12])
    with pytest.raises(ValueError, match="there is no threshold 0, only 1e-12"):
        tiny.at(0)


def pixel_errors_twice() -> tuple[PixelErrors, PixelErrors]:
    return pixel_errors(FOUND, TRUTH, JOINTS), pixel_errors(FOUND, TRUTH, JOINTS)


def test_results_cannot_be_changed_and_are_known_by_their_identity() -> None:
    for one, other in ((scores(), scores()), pixel_errors_twice()):
        with pytest.raises(FrozenInstanceError):
            one.joints = ("hip",)  # type: ignore[misc]
        assert hash(one) == hash(one)
        assert one != other


def test_no_frame_is_left_out_unless_said() -> None:
    counts = np.zeros((1, 1), np.intp)
    assert Scores(("hip",), np.zeros(1), counts, counts[0], 3).left_out == 0


TABLE = """\
            5      10      of
hip      50.0    50.0       2
knee    100.0   100.0       1
total    66.7    66.7       3"""


def test_a_table_by_hand() -> None:
    assert str(pck(FOUND, TRUTH, JOINTS, [5, 10])) == TABLE
    left_out = str(pck(FOUND, TRUTH, JOINTS, [5], lengths=[1, 0]))
    assert left_out.endswith("\nwithout a normaliser: 1 of 2 frames, left out")

"""PCK and errors against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mapdrop.localize.metrics import errors, pck

NAN = float("nan")
TRUTH = np.array([[[0.0, 0.0], [10.0, 10.0]], [[5.0, 5.0], [NAN, NAN]]])
FOUND = np.array([[[3.0, 4.0], [10.0, 10.0]], [[5.0, 17.0], [0.0, 0.0]]])


def test_errors_are_distances_of_the_labelled_joints() -> None:
    np.testing.assert_array_equal(errors(FOUND, TRUTH), [5, 0, 12])


@pytest.mark.parametrize(
    ("radius", "share"), [(0, 1 / 3), (4.99, 1 / 3), (5, 2 / 3), (11.9, 2 / 3), (12, 1)]
)
def test_pck_counts_errors_up_to_and_at_the_radius(radius: float, share: float) -> None:
    np.testing.assert_allclose(pck([5, 0, 12], [radius]), [share])


def test_half_a_label_is_no_label() -> None:
    truth = np.array([[[NAN, 7.0], [0.0, 0.0]]])
    np.testing.assert_array_equal(errors([[[0.0, 0.0], [3.0, 4.0]]], truth), [5])


def test_a_nan_prediction_misses_at_every_radius() -> None:
    distances = errors(np.array([[[NAN, 0.0], [1.0, 0.0]]]), np.zeros((1, 2, 2)))
    np.testing.assert_array_equal(distances, [np.inf, 1])
    np.testing.assert_array_equal(pck(distances, [1e300]), [0.5])


def test_nothing_labelled_is_an_error_not_a_perfect_score() -> None:
    with pytest.raises(ValueError, match="no joint is labelled"):
        errors(np.zeros((2, 3, 2)), np.full((2, 3, 2), NAN))


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 2\).*\(2, 2, 2\)"):
        errors(TRUTH[:1], TRUTH)

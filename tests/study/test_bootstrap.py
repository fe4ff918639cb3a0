"""The bootstrap's intervals, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from mapdrop.study.bootstrap import Interval, difference, pck
from mapdrop.study.rows import Row
from tests.study.example_rows import errors


def rows_of(hit: np.ndarray) -> list[Row]:
    """Make rows of (seeds, images, joints); True is within 4 pixels."""
    return [{"errors": {"test": np.where(seed, 1.0, 9.0).tolist()}} for seed in hit]


def test_the_value_is_the_share_of_all_joints() -> None:
    rows: list[Row] = [
        {"errors": {"test": [[1.0, 9.0], [4.0, None]]}},
        {"errors": {"test": [[1.0, 1.0], [9.0, None]]}},
    ]
    assert pck(rows, 4.0).value == pytest.approx(100 * 4 / 6)
    assert pck(rows, 9.0) == Interval(100, 100, 100, 2)


def test_what_is_the_same_in_both_cancels_out() -> None:
    rows = [{"errors": {"test": errors(0.5, seed)}} for seed in range(3)]
    assert difference(rows, rows, 4.0) == Interval(0, 0, 0, 3)
    better = [{"errors": {"test": errors(0.6, seed)}} for seed in range(3)]
    gap = difference(better, rows, 4.0)
    assert gap.value == pytest.approx(10)
    alone = pck(better, 4.0)
    assert gap.high - gap.low < 0.8 * (alone.high - alone.low)
    assert gap.significant
    worse = difference(rows, better, 4.0)
    assert (worse.value, worse.low, worse.high) == pytest.approx((-10, -gap.high, -gap.low), abs=1)


def test_one_seed_shows_no_difference() -> None:
    one, other = ([{"errors": {"test": errors(share)}}] for share in (0.9, 0.1))
    gap = difference(one, other, 4.0)
    assert gap.low > 0
    assert not gap.significant


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Draw hits whose probability varies by seed, by image and by both; the difference is 0."""
    rng = np.random.default_rng(0)
    seeds, images, trials = 8, 60, 200
    held = 0
    for _ in range(trials):
        easy = rng.normal(0, 0.6, (1, images, 1))
        lucky = rng.normal(0, 0.4, (2, seeds, 1, 1))
        other = rng.normal(0, 0.3, (2, seeds, images, 1))
        draws = rng.normal(0, 1, (2, seeds, images, 3))
        one, two = (easy + lucky + other + draws) > 0
        gap = difference(rows_of(one), rows_of(two), 4.0)
        held += gap.low <= 0 <= gap.high
    # With 8 seeds the percentiles are a little narrow: at least nine in ten, but not all.
    assert binom.cdf(held, trials, 0.90) > 1e-3
    assert held < trials


def test_intervals_over_images_alone_would_be_too_narrow_twin() -> None:
    """The test above notices intervals that ignore the seeds' variance."""
    rng = np.random.default_rng(0)
    seeds, images, trials = 8, 20, 80
    held = 0
    for _ in range(trials):
        lucky = rng.normal(0, 0.4, (2, seeds, 1, 1))
        draws = rng.normal(0, 1, (2, seeds, images, 3))
        one, two = (lucky + draws) > 0
        flat, base = (rows_of(of.reshape(1, -1, 3)) for of in (one, two))
        gap = difference(flat, base, 4.0)
        held += gap.low <= 0 <= gap.high
    assert binom.cdf(held, trials, 0.90) < 1e-3

"""Estimate confidence intervals by a bootstrap over seeds and images.

Two things in a study are random: the seed (initial weights, order, masks) and the choice of test
images. Both are resampled with replacement, independently of each other: Owen's pigeonhole
bootstrap (Annals of Applied Statistics 1, 2007) for crossed factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mapdrop.study.rows import Row

DRAWS = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval.

    Attributes:
        value: the estimate.
        low, high: the middle 95 % of the resampled values.
        seeds: number of seeds to resample.
    """

    value: float
    low: float
    high: float
    seeds: int

    @property
    def significant(self) -> bool:
        """Return whether the interval excludes 0, with at least two seeds."""
        return self.seeds > 1 and (self.low > 0 or self.high < 0)


def hits(rows: Sequence[Row], radius: float) -> npt.NDArray[np.float64]:
    """Return hits on the test images, (seeds, images, joints): 1, 0, or NaN where missing."""
    errors = np.array([row["errors"]["test"] for row in rows], np.float64)
    return np.where(np.isnan(errors), np.nan, errors <= radius)


def pck(rows: Sequence[Row], radius: float) -> Interval:
    """Return the PCK on the test images in percent."""
    return _interval(hits(rows, radius))


def difference(rows: Sequence[Row], base: Sequence[Row], radius: float) -> Interval:
    """Return the PCK of `rows` minus that of `base` in points, for the same seeds and images.

    The effects of the common initial weights and of easy images cancel out.

    >>> rows = [{"errors": {"test": [[1.0, 9.0], [2.0, None]]}}]
    >>> base = [{"errors": {"test": [[1.0, 9.0], [8.0, None]]}}]
    >>> round(difference(rows, base, 4.0).value, 1)
    33.3
    """
    return _interval(hits(rows, radius) - hits(base, radius))


def _interval(values: npt.NDArray[np.float64]) -> Interval:
    """Return the mean of (seeds, images, joints) in percent and its interval; NaN doesn't count."""
    annotated = ~np.isnan(values)
    sums = np.where(annotated, values, 0.0).sum(axis=2)
    counts = annotated.sum(axis=2)
    seeds, images = sums.shape
    seed_weights, image_weights = _weights(seeds, images)
    hit_sums, totals = (
        np.einsum("ds,si,di->d", seed_weights, table, image_weights, optimize=True)
        for table in (sums, counts)
    )
    resampled = 100 * hit_sums[totals > 0] / totals[totals > 0]
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(100 * sums.sum() / counts.sum()), float(low), float(high), seeds)


@lru_cache(maxsize=1)
def _weights(seeds: int, images: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return how often each seed and each image is drawn, (DRAWS, seeds) and (DRAWS, images).

    All comparisons of a study have the same, which take longer to draw than to use.
    """
    rng = np.random.default_rng(0)
    return (
        rng.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS),
        rng.multinomial(images, np.full(images, 1 / images), DRAWS),
    )

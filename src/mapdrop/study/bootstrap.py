"""How sure a difference is: a bootstrap over seeds and images.

Two things are chance in a study: the seed (start weights, order, masks) and which images happen to
be in the test set. Both are drawn again with replacement, independently of each other, which is
Owen's pigeonhole bootstrap (Annals of Applied Statistics 1, 2007) for crossed factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mapdrop.study.rows import Row

DRAWS = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure and where it would lie with other seeds and images.

    Attributes:
        value: as measured.
        low, high: the middle 95 % of the figures of the draws.
        seeds: how many there were to draw from.
    """

    value: float
    low: float
    high: float
    seeds: int

    @property
    def settled(self) -> bool:
        """Whether it is other than 0 for chance to explain, with more seeds than one."""
        return self.seeds > 1 and (self.low > 0 or self.high < 0)


def hits(rows: Sequence[Row], radius: float) -> npt.NDArray[np.float64]:
    """(seeds, images, joints) of the test part: 1 within `radius`, 0 beyond, NaN where missing."""
    far = np.array([row["errors"]["test"] for row in rows], np.float64)
    return np.where(np.isnan(far), np.nan, far <= radius)


def pck(rows: Sequence[Row], radius: float) -> Interval:
    """PCK on the test images in percent."""
    return _interval(hits(rows, radius))


def difference(rows: Sequence[Row], base: Sequence[Row], radius: float) -> Interval:
    """PCK of `rows` less that of `base` in points, both of the same seeds and images.

    What both owe to their common start and to easy images cancels out.

    >>> rows = [{"errors": {"test": [[1.0, 9.0], [2.0, None]]}}]
    >>> base = [{"errors": {"test": [[1.0, 9.0], [8.0, None]]}}]
    >>> round(difference(rows, base, 4.0).value, 1)
    33.3
    """
    return _interval(hits(rows, radius) - hits(base, radius))


def _interval(values: npt.NDArray[np.float64]) -> Interval:
    """Of the mean in percent of (seeds, images, joints), NaN where nothing is to be counted."""
    there = ~np.isnan(values)
    sums = np.where(there, values, 0.0).sum(axis=2)
    counts = there.sum(axis=2)
    seeds, images = sums.shape
    rng = np.random.default_rng(0)
    # How often each seed and each image is drawn.
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS)
    of_images = rng.multinomial(images, np.full(images, 1 / images), DRAWS)
    drawn, counted = (
        np.einsum("ds,si,di->d", of_seeds, table, of_images, optimize=True)
        for table in (sums, counts)
    )
    figures = 100 * drawn[counted > 0] / counted[counted > 0]
    low, high = np.quantile(figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(100 * sums.sum() / counts.sum()), float(low), float(high), seeds)

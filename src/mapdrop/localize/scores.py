"""The metrics' results: a value for each joint, and one for all of them, `total`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
TOTAL = "total"


def index_of(joint: str, joints: Sequence[str]) -> int:
    """Return the index of a joint.

    Raises:
        ValueError: when no joint has this name.
    """
    if joint not in joints:
        raise ValueError(f"no joint is called {joint!r}; there are {', '.join(joints)}")
    return list(joints).index(joint)


def unique_names(joints: Iterable[str]) -> tuple[str, ...]:
    """Return the joints' names as a tuple.

    Raises:
        ValueError: when a name occurs twice or is reserved for the total.
    """
    names = tuple(joints)
    if len(set(names)) != len(names) or TOTAL in names:
        raise ValueError(
            f"joints need different names, none of them {TOTAL!r}, got {', '.join(names)}"
        )
    return names


@dataclass(frozen=True, eq=False)
class Scores:
    """Numbers of joints found at each of T thresholds; prints as a table in percent.

    It holds counts, not fractions: the total weighs every annotation equally, as MPII's evaluation
    does, so a rarely annotated joint has little weight in it.

    Attributes:
        joints: K names.
        thresholds: (T,), in units of the normaliser, or in pixels without one.
        found: (T, K), numbers of joints within the threshold.
        annotated: (K,), numbers of joints that the truth has, in the frames that count.
        frames: number of frames.
        left_out: number of frames that don't count, because their normaliser is NaN or zero.
    """

    joints: tuple[str, ...]
    thresholds: Array
    found: npt.NDArray[np.intp]
    annotated: npt.NDArray[np.intp]
    frames: int
    left_out: int = 0

    @property
    def per_joint(self) -> Array:
        """Return (T, K) fractions, 0 to 1; NaN for a joint that is never annotated."""
        return _fraction(self.found, self.annotated)

    @property
    def total(self) -> Array:
        """Return (T,) fractions of all annotated joints, 0 to 1; NaN when there are none."""
        return _fraction(self.found.sum(axis=1), self.annotated.sum())

    def at(self, threshold: float) -> dict[str, float]:
        """Return the fraction of each joint, and of all, at one of the thresholds.

        Raises:
            ValueError: when the threshold is none of them.
        """
        nearest = int(np.argmin(abs(self.thresholds - threshold)))
        # Close is enough: np.linspace(0, 0.5, 51) holds 0.35000000000000003.
        if not np.isclose(self.thresholds[nearest], threshold, rtol=1e-9, atol=0):
            known = ", ".join(f"{known:g}" for known in self.thresholds)
            raise ValueError(
                f"there is no threshold {threshold:g}, only {known}; pass it to the metric"
            )
        return _row(self.joints, self.per_joint[nearest], self.total[nearest])

    def auc(self) -> dict[str, float]:
        """Return the area under the curve of each joint and of the total, 0 to 1.

        The trapezoidal rule, divided by the largest threshold: 1 when every joint is exact. MPII's
        is the area of PCKh at ``np.linspace(0, 0.5, 51)``.

        Raises:
            ValueError: unless the thresholds rise from 0.
        """
        steps = np.diff(self.thresholds)
        if not (len(steps) and self.thresholds[0] == 0 and (steps > 0).all()):
            raise ValueError(
                "an area needs thresholds that rise from 0, such as np.linspace(0, 0.5, 51), got "
                + ", ".join(f"{known:g}" for known in self.thresholds)
            )
        curves = np.column_stack([self.per_joint, self.total])
        areas = steps @ (curves[:-1] + curves[1:]) / 2 / self.thresholds[-1]
        return _row(self.joints, areas[:-1], areas[-1])

    def only(self, joints: Iterable[str]) -> Scores:
        """Return the scores of some of the joints, with their total.

        Raises:
            ValueError: when there is no such joint, or one occurs twice.
        """
        names = unique_names(joints)
        indices = [index_of(joint, self.joints) for joint in names]
        return replace(
            self, joints=names, found=self.found[:, indices], annotated=self.annotated[indices]
        )

    def __str__(self) -> str:
        """Return a line for each joint: the percentage at each threshold, and the count."""
        names = (*self.joints, TOTAL)
        width = max(map(len, names))
        counts = [*self.annotated, self.annotated.sum()]
        percent = 100 * np.column_stack([self.per_joint, self.total]).T
        lines = [" " * width + "".join(f"{f'{t:g}':>8}" for t in self.thresholds) + "      of"]
        for name, row, count in zip(names, percent, counts, strict=True):
            lines.append(f"{name:<{width}}" + "".join(f"{s:8.1f}" for s in row) + f"{count:8}")
        if self.left_out:
            lines.append(f"without a normaliser: {self.left_out} of {self.frames} frames, left out")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class PixelErrors:
    """The errors of predictions.

    Attributes:
        joints: K names.
        distances: (N, K) in pixels: NaN where the joint is missing in the truth, infinity where it
            is annotated and was not predicted.
    """

    joints: tuple[str, ...]
    distances: Array

    def mean(self) -> dict[str, float]:
        """Return the mean error in pixels of each joint and of all.

        It is infinite if any joint was not predicted, NaN for a joint that is never annotated.
        """
        return self._reduce(np.mean)

    def median(self) -> dict[str, float]:
        """Return the median error in pixels of each joint and of all.

        A few joints that were not predicted hardly change it. NaN for one never annotated.
        """
        return self._reduce(np.median)

    def percentile(self, percent: float) -> dict[str, float]:
        """Return the error in pixels that so many percent of each joint, and of all, don't exceed.

        It is one of the errors, the smallest that suffices. NaN for a joint never annotated.
        """
        return self._reduce(lambda values: np.percentile(values, percent, method="inverted_cdf"))

    @property
    def labels(self) -> npt.NDArray[np.intp]:
        """Return (K,), the number of annotations of each joint."""
        return np.asarray((~np.isnan(self.distances)).sum(axis=0))

    def _reduce(self, reduce: Callable[[Array], np.floating]) -> dict[str, float]:
        columns = [*self.distances.T, self.distances.ravel()]
        annotated = [column[~np.isnan(column)] for column in columns]
        values = [float(reduce(values)) if values.size else np.nan for values in annotated]
        return _row(self.joints, values[:-1], values[-1])


def _fraction(found: npt.ArrayLike, annotated: npt.ArrayLike) -> Array:
    count = np.asarray(annotated, np.float64)
    return np.asarray(found) / np.where(count > 0, count, np.nan)


def _row(joints: Sequence[str], values: Iterable[float], total: float) -> dict[str, float]:
    return {**dict(zip(joints, map(float, values), strict=True)), TOTAL: float(total)}

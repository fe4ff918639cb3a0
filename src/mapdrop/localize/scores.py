"""What the metrics return: tables of a figure for each joint and one for all, `total`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
TOTAL = "total"


def place_of(joint: str, joints: Sequence[str]) -> int:
    """The index of a joint by its name.

    Raises:
        ValueError: when there is none of this name.
    """
    if joint not in joints:
        raise ValueError(f"no joint is called {joint!r}; there are {', '.join(joints)}")
    return list(joints).index(joint)


def distinct(joints: Iterable[str]) -> tuple[str, ...]:
    """The joints' names, fit to be the lines of a table.

    Raises:
        ValueError: when two are the same, or one is that of the total.
    """
    names = tuple(joints)
    if len(set(names)) != len(names) or TOTAL in names:
        raise ValueError(
            f"joints need different names, none of them {TOTAL!r}, got {', '.join(names)}"
        )
    return names


@dataclass(frozen=True, eq=False)
class Scores:
    """How many joints were found at each of T thresholds. Printed, it is a table in percent.

    Counts are kept, not shares: the total weighs every annotated joint alike (as the evaluation of
    MPII does), so a joint that is seldom annotated counts for little in it.

    Attributes:
        joints: K names.
        thresholds: (T,), in units of the normaliser; in pixels where there is none.
        found: (T, K), how many joints are no further off than the threshold.
        annotated: (K,), of how many: the joints that the truth has, in frames not left out.
        frames: how many frames were given.
        left_out: how many of them count nowhere, as their normaliser is NaN or zero.
    """

    joints: tuple[str, ...]
    thresholds: Array
    found: npt.NDArray[np.intp]
    annotated: npt.NDArray[np.intp]
    frames: int
    left_out: int = 0

    @property
    def per_joint(self) -> Array:
        """(T, K) shares, 0 to 1; NaN for a joint that is never annotated."""
        return _share(self.found, self.annotated)

    @property
    def total(self) -> Array:
        """(T,) shares of all annotated joints, 0 to 1; NaN when there are none."""
        return _share(self.found.sum(axis=1), self.annotated.sum())

    def at(self, threshold: float) -> dict[str, float]:
        """The share of each joint, and of all, at one of the thresholds.

        Raises:
            ValueError: when it is none of them.
        """
        nearest = int(np.argmin(abs(self.thresholds - threshold)))
        # Close is enough: np.linspace(0, 0.5, 51) holds 0.35000000000000003.
        if not np.isclose(self.thresholds[nearest], threshold, rtol=1e-9, atol=0):
            known = ", ".join(f"{known:g}" for known in self.thresholds)
            raise ValueError(f"nothing was counted at {threshold:g}, but at {known}; ask for it")
        return _row(self.joints, self.per_joint[nearest], self.total[nearest])

    def auc(self) -> dict[str, float]:
        """The area under each joint's curve, and under the total's: 0 to 1.

        By trapezoids, divided by the largest threshold: 1 is reached when every joint is exact.
        MPII's is that of PCKh at ``np.linspace(0, 0.5, 51)``.

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
        """The same for some of the joints; the total is of these.

        Raises:
            ValueError: when there is no such joint, or one is asked for twice.
        """
        names = distinct(joints)
        places = [place_of(joint, self.joints) for joint in names]
        return replace(
            self, joints=names, found=self.found[:, places], annotated=self.annotated[places]
        )

    def __str__(self) -> str:
        """A line for each joint: percent at each threshold, and of how many."""
        names = (*self.joints, TOTAL)
        width = max(map(len, names))
        counts = [*self.annotated, self.annotated.sum()]
        shares = 100 * np.column_stack([self.per_joint, self.total]).T
        lines = [" " * width + "".join(f"{f'{t:g}':>8}" for t in self.thresholds) + "      of"]
        for name, row, count in zip(names, shares, counts, strict=True):
            lines.append(f"{name:<{width}}" + "".join(f"{s:8.1f}" for s in row) + f"{count:8}")
        if self.left_out:
            lines.append(f"without a normaliser: {self.left_out} of {self.frames} frames, left out")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class PixelErrors:
    """How far predictions are off.

    Attributes:
        joints: K names.
        distances: (N, K) in pixels: NaN where the joint is missing in the truth, infinity where it
            is there and was not predicted.
    """

    joints: tuple[str, ...]
    distances: Array

    def mean(self) -> dict[str, float]:
        """Of each joint, and of all, in pixels: infinite as soon as one was not predicted.

        NaN for a joint that is never annotated.
        """
        return self._of_each(np.mean)

    def median(self) -> dict[str, float]:
        """Of each joint, and of all, in pixels: a few that were not predicted hardly move it.

        NaN for a joint that is never annotated.
        """
        return self._of_each(np.median)

    def _of_each(self, figure: Callable[[Array], np.floating]) -> dict[str, float]:
        columns = [*self.distances.T, self.distances.ravel()]
        annotated = [column[~np.isnan(column)] for column in columns]
        figures = [float(figure(far)) if far.size else np.nan for far in annotated]
        return _row(self.joints, figures[:-1], figures[-1])


def _share(found: npt.ArrayLike, annotated: npt.ArrayLike) -> Array:
    count = np.asarray(annotated, np.float64)
    return np.asarray(found) / np.where(count > 0, count, np.nan)


def _row(joints: Sequence[str], figures: Iterable[float], total: float) -> dict[str, float]:
    return {**dict(zip(joints, map(float, figures), strict=True)), TOTAL: float(total)}

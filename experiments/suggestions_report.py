"""What the trainings with suggested and with random frames came to: a table, a sentence, a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from experiments.suggestions import CHOICES, COUNT, LABELLED, TEST, Row, read
from mapdrop.study.bootstrap import Interval, difference, hits, pck
from mapdrop.system.files import replacing

RADII = (5.0, 10.0)
KEYS = ("spread", "error")
SHOWN = {
    "start": f"{LABELLED} frames",
    "suggested": f"and {COUNT} suggested",
    "random": f"and {COUNT} at random",
}


def findings(file: Path) -> list[str]:
    """Return the lines of README.md for the rows in a file."""
    by_choice = _by_choice(read(file))
    splits = len(by_choice["start"])
    lines = [
        f"Key points of {TEST} test frames, {splits} splits of the others, a training for each "
        "cell and split.\n",
        f"| trained on | {' | '.join(f'within {radius:g} px, %' for radius in RADII)} | "
        "median error, px |",
        f"| --- |{' --- |' * (1 + len(RADII))}",
    ]
    for choice, rows in by_choice.items():
        cells = [f"{pck(rows, radius).value:.1f}" for radius in RADII]
        error = fmean(map(_median, rows))
        lines.append(f"| {SHOWN[choice]} | {' | '.join(cells)} | {error:.2f} |")
    return [*lines, "", _verdict(by_choice), "", _correlation(by_choice["start"]), ""]


def plot(file: Path, picture: Path) -> None:
    """Draw the share of joints within the smaller radius, of each split."""
    by_choice = _by_choice(read(file))
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axis = figure.subplots()
    shares = np.array([[_share(row) for row in by_choice[choice]] for choice in CHOICES])
    start, suggested, random = shares
    for split in range(shares.shape[1]):
        axis.plot([0, 1], [start[split], suggested[split]], "o-", color="#0072B2", lw=1.2)
        axis.plot([0, 1], [start[split], random[split]], "s--", color="#E69F00", lw=1.2)
    axis.plot([], [], "o-", color="#0072B2", label=SHOWN["suggested"])
    axis.plot([], [], "s--", color="#E69F00", label=SHOWN["random"])
    axis.set_xticks([0, 1], [f"{LABELLED} frames", f"{LABELLED + COUNT} frames"])
    axis.set(xlim=(-0.15, 1.15), ylabel=f"% of test joints within {RADII[0]:g} px")
    axis.set_title(f"mouse-openfield, {shares.shape[1]} splits", size=10)
    axis.grid(alpha=0.25, axis="y")
    axis.legend(loc="lower right")
    with replacing(picture) as out:
        figure.savefig(out, format="png", dpi=110)


def _by_choice(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each choice, ordered by the split, of splits that have all of them."""
    found = {(row["choice"], row["split"]): row for row in rows}
    splits = sorted({split for _, split in found})
    whole = [split for split in splits if all((choice, split) in found for choice in CHOICES)]
    return {choice: [found[choice, split] for split in whole] for choice in CHOICES}


def _verdict(by_choice: dict[str, list[Row]]) -> str:
    gaps = {r: difference(by_choice["suggested"], by_choice["random"], r) for r in RADII}
    texts = [f"{_gap(gap)} points within {radius:g} px" for radius, gap in gaps.items()]
    shown = [gap for gap in gaps.values() if gap.significant]
    if not shown:
        verdict = "are not shown to teach more or less than random ones"
    elif all(gap.value > 0 for gap in shown):
        verdict = "teach more than random ones"
    else:
        verdict = "teach less than random ones"
    return f"Suggested frames {verdict}: {' and '.join(texts)} (95 % intervals)."


def _correlation(starts: Sequence[Row]) -> str:
    """Say how well the first network knows which of the frames that are left it gets wrong."""
    ranks, ratios = [], []
    for row in starts:
        spread, error = (np.array([frame[key] for frame in row["left"]]) for key in KEYS)
        ranks.append(float(spearmanr(spread, error).statistic))
        uncertain = np.argsort(-spread)[: len(spread) // 2]
        ratios.append(float(error[uncertain].mean() / error.mean()))
    return (
        f"The first network's uncertainty and its error on the {len(starts[0]['left'])} frames "
        f"that are left have a rank correlation of {fmean(ranks):.2f} ({min(ranks):.2f} to "
        f"{max(ranks):.2f} over the splits); the error on the more uncertain half is "
        f"{fmean(ratios):.2f} times that on all."
    )


def _gap(gap: Interval) -> str:
    return f"{gap.value:+.1f} ({gap.low:+.1f} to {gap.high:+.1f})"


def _median(row: Row) -> float:
    return float(np.nanmedian(np.array(row["errors"]["test"], np.float64)))


def _share(row: Row) -> float:
    return float(100 * np.nanmean(hits([row], RADII[0])))

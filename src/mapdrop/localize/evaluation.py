"""How good a trained network is on labelled pictures that it has never seen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mapdrop.localize import metrics, overlay
from mapdrop.localize.data import pictures as fitting
from mapdrop.localize.predictions import Array, Predictions
from mapdrop.localize.results import Results
from mapdrop.localize.run.folder import RunError
from mapdrop.localize.run.pictures import Pictures
from mapdrop.localize.run.trained import Trained
from mapdrop.system.printable import drawable

CURVE_POINTS = 61
WORST = 6
"""Pictures shown, those with the largest errors."""

NAMES = ("metrics.json", "predictions.csv", "evaluation.png")
"""Of the files that an evaluation writes: figures, what was found, and a picture of both."""

PARTS = {"train": "trained on", "validation": "validated with"}


@dataclass(frozen=True)
class Evaluation:
    """Predictions beside the truth.

    Attributes:
        pictures: what was looked at.
        found: what was found.
        truth: (N, K, 2) in original pixels; NaN where missing.
        lengths: (N,) in original pixels, which PCK is also measured by, or None.
        normaliser: the two joints that these lie between, or None.
    """

    pictures: Pictures
    found: Predictions
    truth: Array
    lengths: Array | None
    normaliser: tuple[str, str] | None

    @classmethod
    def of(
        cls, trained: Trained, pictures: Pictures, normaliser: tuple[str, str] | None = None
    ) -> Evaluation:
        """Of a network on pictures.

        Args:
            normaliser: two joints; their distance is what PCK is also measured by.
        """
        found = Predictions.of(
            trained.joints, pictures.owners, trained.locate(pictures.images), pictures.scale
        )
        truth = fitting.original(pictures.points, pictures.scale[:, None, None])
        lengths = normaliser and metrics.length(truth, trained.joints, *normaliser)
        return cls(pictures, found, truth, lengths, normaliser)

    @property
    def errors(self) -> metrics.PixelErrors:
        """In original pixels."""
        return metrics.pixel_errors(self.found.points, self.truth, self.found.joints)

    def pck(self, thresholds: Any) -> metrics.Scores:
        """Within so many original pixels."""
        return metrics.pck(self.found.points, self.truth, self.found.joints, thresholds)

    def figures(self) -> dict[str, dict[str, float]]:
        """Every figure, of each joint and of all: shares from 0 to 1, errors in pixels."""
        small, large = self.pictures.radii
        scores = self.pck([small, large])
        figures = {
            f"pck {small:g} px": scores.at(small),
            f"pck {large:g} px": scores.at(large),
            f"auc {large:g} px": self.pck(np.linspace(0, large, CURVE_POINTS)).auc(),
            "median error px": self.errors.median(),
            "mean error px": self.errors.mean(),
        }
        if self.lengths is not None and self.normaliser is not None:
            points = self.found.points, self.truth, self.found.joints
            of = "-".join(self.normaliser)
            figures[f"pck 0.2 {of}"] = metrics.pck(*points, 0.2, self.lengths).at(0.2)
        return figures

    def write(self, results: Results) -> None:
        """Write `NAMES`, each whole or not at all."""
        about = {
            "data": self.pictures.name,
            "images": len(self.pictures),
            "joints": int((~np.isnan(self.truth).any(axis=-1)).sum()),
            "unit": self.pictures.unit,
            "figures": self.figures(),
        }
        contents = (
            json.dumps(about, indent=1, allow_nan=False).encode(),
            self.found.table(),
            self._picture(),
        )
        for name, content in zip(NAMES, contents, strict=True):
            results.write(name, content)

    def _picture(self) -> bytes:
        """Curves of PCK, and the pictures with the largest errors."""
        worst = np.argsort(-np.nanmax(self.errors.distances, axis=1))[:WORST]
        rows = -(-len(worst) // 3)
        figure = Figure(figsize=(10, 4 + 2.9 * rows), layout="constrained")
        upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=[4, 2.9 * rows]))
        self._curves(upper)
        axes = lower.subplots(rows, 3, squeeze=False)
        lower.suptitle("The largest errors: found (dots), true (crosses)", size=10)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, index in zip(axes.flat, worst, strict=False):
            self._show(axis, index)
        content = BytesIO()
        figure.savefig(content, format="png", dpi=110)
        return content.getvalue()

    def _curves(self, figure: Any) -> None:
        axis = figure.subplots()
        radii = np.linspace(0, 2 * self.pictures.radii[1], CURVE_POINTS)
        scores = self.pck(radii)
        for joint, curve, (r, g, b) in zip(
            scores.joints, scores.per_joint.T, overlay.colours(len(scores.joints)), strict=True
        ):
            axis.plot(radii, 100 * curve, color=(r / 255, g / 255, b / 255), label=drawable(joint))
        axis.plot(radii, 100 * scores.total, color="black", lw=2.5, label="all")
        unit = drawable(self.pictures.unit)
        axis.set(xlabel=f"radius in px ({unit})", ylabel="% of joints within")
        axis.set(xlim=(0, radii[-1]), ylim=(0, 101))
        name = drawable(self.pictures.name)
        axis.set_title(f"{name}: {len(self.pictures)} images never trained on")
        axis.grid(alpha=0.25)
        axis.legend(loc="lower right", ncols=1 + len(scores.joints) // 10, fontsize=8)

    def _show(self, axis: Any, index: int) -> None:
        pictures = self.pictures
        axis.imshow(pictures.images[index])
        places = (self.found.points[index] + 0.5) / pictures.scale[index] - 0.5
        for colour, place, true in zip(
            overlay.colours(len(places)), places, pictures.points[index], strict=True
        ):
            shade = [tuple(part / 255 for part in colour)]
            axis.scatter(*place, s=28, c=shade, edgecolors="black", linewidths=0.8)
            axis.scatter(*true, s=46, c=shade, marker="x", linewidths=1.6)
        far = np.nanmax(self.errors.distances[index])
        axis.set_title(f"{drawable(Path(pictures.owners[index]).name)}, {far:.0f} px", size=8)
        axis.set(xlim=(-0.5, pictures.size[0] - 0.5), ylim=(pictures.size[1] - 0.5, -0.5))


def unseen(trained: Trained, pictures: Pictures) -> Pictures:
    """Those that the run neither trained on nor validated with.

    Raises:
        RunError: when there are none.
    """
    seen = {digest for part in PARTS for digest in trained.record.seen[part]}
    new = [i for i, digest in enumerate(pictures.digests()) if digest not in seen]
    if not new:
        raise RunError(
            f"all {len(pictures)} labelled images of {pictures.name} were used in training, where "
            "any network looks good; label others, or train on a part of them by --train-size"
        )
    return pictures.only(np.array(new, np.intp))

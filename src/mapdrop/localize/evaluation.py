"""Evaluate a trained network on labelled images that it has never seen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mapdrop.localize import metrics, overlay
from mapdrop.localize.data import image_files
from mapdrop.localize.predictions import Array, Predictions
from mapdrop.localize.results import ResultFolder
from mapdrop.localize.run.folder import RunError
from mapdrop.localize.run.images import LabelledImages
from mapdrop.localize.run.trained import TrainedModel
from mapdrop.system.printable import drawable

CURVE_POINTS = 61
WORST = 6
"""Number of images shown, those with the largest errors."""

NAMES = ("metrics.json", "predictions.csv", "evaluation.png")
"""The files that an evaluation writes: metrics, predictions, and plots of both."""


@dataclass(frozen=True)
class Evaluation:
    """Predictions and the truth.

    Attributes:
        labelled: the images.
        predictions: the joints found in them.
        truth: (N, K, 2) in original pixels; NaN where missing.
        lengths: (N,) in original pixels, by which PCK is also normalised, or None.
        normaliser: the two joints whose distances these are, or None.
    """

    labelled: LabelledImages
    predictions: Predictions
    truth: Array
    lengths: Array | None
    normaliser: tuple[str, str] | None

    @classmethod
    def of(
        cls,
        trained: TrainedModel,
        labelled: LabelledImages,
        normaliser: tuple[str, str] | None = None,
    ) -> Evaluation:
        """Evaluate a network on labelled images.

        Args:
            trained: the network.
            labelled: the images.
            normaliser: two joints, by whose distance PCK is also normalised.
        """
        predictions = Predictions.of(
            trained.joints, labelled.image_names, trained.locate(labelled.images), labelled.scale
        )
        truth = image_files.to_original(labelled.points, labelled.scale[:, None, None])
        lengths = normaliser and metrics.length(truth, trained.joints, *normaliser)
        return cls(labelled, predictions, truth, lengths, normaliser)

    @property
    def errors(self) -> metrics.PixelErrors:
        """Return the errors in original pixels."""
        return metrics.pixel_errors(self.predictions.points, self.truth, self.predictions.joints)

    def pck(self, thresholds: Any) -> metrics.Scores:
        """Return the PCK within radii in original pixels."""
        return metrics.pck(self.predictions.points, self.truth, self.predictions.joints, thresholds)

    def metric_table(self) -> dict[str, dict[str, float]]:
        """Return all metrics, of each joint and of all: fractions from 0 to 1, errors in pixels."""
        small, large = self.labelled.radii
        scores = self.pck([small, large])
        values = {
            f"pck {small:g} px": scores.at(small),
            f"pck {large:g} px": scores.at(large),
            f"auc {large:g} px": self.pck(np.linspace(0, large, CURVE_POINTS)).auc(),
            "median error px": self.errors.median(),
            "mean error px": self.errors.mean(),
        }
        if self.lengths is not None and self.normaliser is not None:
            points = self.predictions.points, self.truth, self.predictions.joints
            pair = "-".join(self.normaliser)
            values[f"pck 0.2 {pair}"] = metrics.pck(*points, 0.2, self.lengths).at(0.2)
        return values

    def write(self, results: ResultFolder) -> None:
        """Write the files called `NAMES`, each atomically."""
        summary = {
            "data": self.labelled.name,
            "images": len(self.labelled),
            "joints": int((~np.isnan(self.truth).any(axis=-1)).sum()),
            "unit": self.labelled.unit,
            "figures": self.metric_table(),
        }
        contents = (
            json.dumps(summary, indent=1, allow_nan=False).encode(),
            self.predictions.table(),
            self._plot(),
        )
        for name, content in zip(NAMES, contents, strict=True):
            results.write(name, content)

    def _plot(self) -> bytes:
        """Plot the curves of PCK, and the images with the largest errors."""
        worst = np.argsort(-np.nanmax(self.errors.distances, axis=1))[:WORST]
        rows = -(-len(worst) // 3)
        figure = Figure(figsize=(10, 4 + 2.9 * rows), layout="constrained")
        upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=[4, 2.9 * rows]))
        self._plot_curves(upper)
        axes = lower.subplots(rows, 3, squeeze=False)
        lower.suptitle("The largest errors: found (dots), truth (crosses)", size=10)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, index in zip(axes.flat, worst, strict=False):
            self._show_errors(axis, index)
        content = BytesIO()
        figure.savefig(content, format="png", dpi=110)
        return content.getvalue()

    def _plot_curves(self, figure: Any) -> None:
        axis = figure.subplots()
        radii = np.linspace(0, 2 * self.labelled.radii[1], CURVE_POINTS)
        scores = self.pck(radii)
        for joint, curve, (r, g, b) in zip(
            scores.joints, scores.per_joint.T, overlay.colours(len(scores.joints)), strict=True
        ):
            axis.plot(radii, 100 * curve, color=(r / 255, g / 255, b / 255), label=drawable(joint))
        axis.plot(radii, 100 * scores.total, color="black", lw=2.5, label="all")
        unit = drawable(self.labelled.unit)
        axis.set(xlabel=f"radius in px ({unit})", ylabel="% of joints within")
        axis.set(xlim=(0, radii[-1]), ylim=(0, 101))
        name = drawable(self.labelled.name)
        axis.set_title(f"{name}: {len(self.labelled)} images never trained on")
        axis.grid(alpha=0.25)
        axis.legend(loc="lower right", ncols=1 + len(scores.joints) // 10, fontsize=8)

    def _show_errors(self, axis: Any, index: int) -> None:
        labelled = self.labelled
        axis.imshow(labelled.images[index])
        points = (self.predictions.points[index] + 0.5) / labelled.scale[index] - 0.5
        for colour, point, truth in zip(
            overlay.colours(len(points)), points, labelled.points[index], strict=True
        ):
            shade = [tuple(part / 255 for part in colour)]
            axis.scatter(*point, s=28, c=shade, edgecolors="black", linewidths=0.8)
            axis.scatter(*truth, s=46, c=shade, marker="x", linewidths=1.6)
        error = np.nanmax(self.errors.distances[index])
        axis.set_title(
            f"{drawable(Path(labelled.image_names[index]).name)}, {error:.0f} px", size=8
        )
        axis.set(xlim=(-0.5, labelled.size[0] - 0.5), ylim=(labelled.size[1] - 0.5, -0.5))


def unseen(trained: TrainedModel, labelled: LabelledImages) -> LabelledImages:
    """Return the images that the run neither trained on nor validated with.

    Raises:
        RunError: when there are none.
    """
    seen = {digest for part in trained.record.seen.values() for digest in part}
    new = [i for i, digest in enumerate(labelled.digests()) if digest not in seen]
    if not new:
        raise RunError(
            f"all {len(labelled)} labelled images of {labelled.name} were used for training, and "
            "can't test it; label others, or train on some of them only, by --train-size"
        )
    return labelled.select(np.array(new, np.intp))

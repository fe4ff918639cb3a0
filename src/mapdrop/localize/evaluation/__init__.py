"""Evaluate a trained network on labelled images that it has never seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mapdrop.localize import metrics
from mapdrop.localize.data import image_files
from mapdrop.localize.evaluation.difficulty import hardest_first, nearest_joints, worst_images
from mapdrop.localize.predictions import Array, Predictions
from mapdrop.localize.run.folder import RunError
from mapdrop.localize.run.images import Indices, LabelledImages
from mapdrop.localize.run.trained import TrainedModel

CURVE_POINTS = 61
CONFUSIONS = 5
"""Number of confusions that are told, the most frequent ones."""


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
        """Evaluate a network on labelled images. What can be refused is, before the network runs.

        Args:
            trained: the network.
            labelled: the images.
            normaliser: two joints, by whose distance PCK is also normalised.

        Raises:
            RunError: when no image has a label, or none has a distance to normalise by.
        """
        truth = image_files.to_original(labelled.points, labelled.scale[:, None, None])
        if np.isnan(truth).any(axis=-1).all():
            raise RunError(
                f"none of the {len(labelled)} images of {labelled.name} to evaluate on has one of "
                f"the run's joints labelled ({', '.join(trained.joints)}); label some of them"
            )
        lengths = normaliser and _lengths(truth, trained.joints, normaliser)
        predictions = Predictions.of(
            trained.joints, labelled.image_names, trained.locate(labelled.images), labelled.scale
        )
        return cls(labelled, predictions, truth, lengths, normaliser)

    @property
    def joints(self) -> tuple[str, ...]:
        """Return the joints' names."""
        return self.predictions.joints

    @cached_property
    def errors(self) -> metrics.PixelErrors:
        """Return the errors in original pixels."""
        return metrics.pixel_errors(self.predictions.points, self.truth, self.joints)

    @cached_property
    def nearest(self) -> Indices:
        """Return the joint whose label each point is nearest to, (N, K); see `nearest_joints`."""
        return nearest_joints(self.predictions.points, self.truth)

    def pck(self, thresholds: Any) -> metrics.Scores:
        """Return the PCK within radii in original pixels."""
        return metrics.pck(self.predictions.points, self.truth, self.joints, thresholds)

    def metric_table(self) -> dict[str, dict[str, float]]:
        """Return all metrics, of each joint and of all: fractions from 0 to 1, errors in pixels.

        A joint without labels has NaN.
        """
        small, large = self.labelled.radii
        scores, errors = self.pck([small, large]), self.errors
        values = {
            f"pck {small:g} px": scores.at(small),
            f"pck {large:g} px": scores.at(large),
            f"auc {large:g} px": self.pck(np.linspace(0, large, CURVE_POINTS)).auc(),
            "median error px": errors.median(),
            "mean error px": errors.mean(),
            "p90 error px": errors.percentile(90),
            "max error px": errors.percentile(100),
        }
        if self.lengths is not None:
            points = self.predictions.points, self.truth, self.joints
            values[self._normalised] = metrics.pck(*points, 0.2, self.lengths).at(0.2)
        return values

    def ranking(self) -> list[dict[str, Any]]:
        """Return a row for each joint, the hardest first: labels, metrics and the worst image."""
        errors, table, names = self.errors, self.metric_table(), self.labelled.image_names
        rows = []
        for joint in hardest_first(errors):
            name, worst = self.joints[joint], worst_images(errors, joint)
            rows.append(
                {
                    "joint": name,
                    "labels": int(errors.labels[joint]),
                    **{metric: values[name] for metric, values in table.items()},
                    "worst image": names[worst[0]] if worst else None,
                }
            )
        return rows

    def remarks(self) -> list[str]:
        """Say what the metrics leave out, and which joints were found at others' labels."""
        remarks, total = [], len(self.labelled)
        counts = zip(self.joints, self.errors.labels, strict=True)
        if unlabelled := [joint for joint, count in counts if not count]:
            remarks.append(f"no labels, so no metrics: {', '.join(unlabelled)}")
        if empty := int(np.isnan(self.errors.distances).all(axis=1).sum()):
            remarks.append(f"without any label: {empty} of {total} images")
        if self.lengths is not None and (without := int((~(self.lengths > 0)).sum())):
            remarks.append(
                f"left out of {self._normalised}: {without} of {total} images, where one of the "
                "two is not labelled, or both are at the same point"
            )
        if confusions := self.confusions():
            most = (f"{a} at {b} ({n})" for (a, b), n in confusions.most_common(CONFUSIONS))
            remarks.append(
                f"nearer to another joint's label than to their own: {confusions.total()} of "
                f"{self.errors.labels.sum()} points; most often {', '.join(most)}"
            )
        return remarks

    def confusions(self) -> Counter[tuple[str, str]]:
        """Count the points of a joint that are nearer to another joint's label, by both names."""
        nearest = self.nearest
        images, joints = np.nonzero(nearest != np.arange(len(self.joints)))
        others = nearest[images, joints]
        return Counter(
            (self.joints[joint], self.joints[other])
            for joint, other in zip(joints, others, strict=True)
        )

    @property
    def _normalised(self) -> str:
        return f"pck 0.2 {'-'.join(self.normaliser or ())}"


def _lengths(truth: Array, joints: tuple[str, ...], pair: tuple[str, str]) -> Array:
    """Return the distance of two joints in each image. Raise RunError if no image has one."""
    lengths = metrics.length(truth, joints, *pair)
    if not (lengths > 0).any():
        raise RunError(
            f"{' and '.join(pair)} can't normalise: of the {len(truth)} images to evaluate on, no "
            "image has both labelled at different points; choose other joints for --normalise"
        )
    return lengths


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

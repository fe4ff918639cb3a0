"""Write an evaluation: metrics, predictions, every error, a plot and a sheet of the worst."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from mapdrop.localize.csv_text import csv_text
from mapdrop.localize.data import image_files
from mapdrop.localize.evaluation import Evaluation, plot, worst_sheet
from mapdrop.localize.results import ResultFolder

METRICS, PREDICTIONS, ERRORS = "metrics.json", "predictions.csv", "errors.csv"
PLOT, SHEET = "evaluation.png", "worst.png"
NAMES = (METRICS, PREDICTIONS, ERRORS, PLOT, SHEET)
"""The files that an evaluation writes."""

COORDINATES = ("x_true", "y_true", "x_found", "y_found")
COLUMNS = ("image", "joint", *COORDINATES, "likelihood", "error", "nearest")
"""Of the table of errors, in original pixels; `nearest` is another joint whose label is nearer."""


def write(evaluation: Evaluation, results: ResultFolder) -> None:
    """Write the files called `NAMES`, each atomically."""
    results.write(METRICS, _metrics(evaluation))
    results.write(PREDICTIONS, evaluation.predictions.table())
    results.write(ERRORS, _errors(evaluation))
    results.write(PLOT, plot.png(evaluation))
    results.write(SHEET, image_files.encode_png(worst_sheet.draw(evaluation)))


def _metrics(evaluation: Evaluation) -> bytes:
    """Return metrics as JSON, null where a joint has no labels."""
    summary = {
        "data": evaluation.labelled.name,
        "images": len(evaluation.labelled),
        "joints": int(evaluation.errors.labels.sum()),
        "unit": evaluation.labelled.unit,
        "figures": {name: _finite(values) for name, values in evaluation.metric_table().items()},
        "ranking": [_finite(row) for row in evaluation.ranking()],
    }
    return json.dumps(summary, indent=1, allow_nan=False).encode()


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _errors(evaluation: Evaluation) -> bytes:
    """Return a row for each image and joint, the largest error first, those without labels last."""
    found, truth, joints = evaluation.predictions, evaluation.truth, evaluation.joints
    far, nearest = evaluation.errors.distances, evaluation.nearest
    rows: list[tuple[object, ...]] = [COLUMNS]
    for number in np.argsort(-far, axis=None, kind="stable"):
        image, joint = np.unravel_index(number, far.shape)
        other = nearest[image, joint]
        rows.append(
            (
                found.names[image],
                joints[joint],
                *truth[image, joint],
                *found.points[image, joint],
                found.likelihood[image, joint],
                far[image, joint],
                "" if other == joint else joints[other],
            )
        )
    return csv_text(rows)

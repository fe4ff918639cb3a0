"""Rows of imaginary studies, with results that tests choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mapdrop.study.rows import Row

IMAGES, JOINTS = 40, 3
WRITTEN = {"written": "2026-11-26T00:00:00+00:00"}
RADII = (4.0, 8.0)


def summary_metrics(share: float) -> Row:
    return {"pck": {"4": share, "8": share}, "mean_error": 5.0, "median_error": 4.0}


def begun() -> Row:
    """Return the first row."""
    return {
        "kind": "study",
        "data": {
            "name": "scenes",
            "joints": ["0", "1", "2"],
            "train": 32,
            "validation": 10,
            "test": IMAGES,
            "working_size": [96, 96],
            "radii": list(RADII),
            "unit": "pixels",
            "limits": "Nothing is <proven>.",
        },
        "guess": summary_metrics(0.1),
        "machine": {"threads": 2},
        "settings": {"width": 16, "recipe": {"steps": 300}},
        "versions": {"mapdrop": "1"},
        **WRITTEN,
    }


def errors(share: float, seed: int = 0) -> list[list[float | None]]:
    """Return test errors, a fraction of which is within 4 pixels."""
    count = IMAGES * JOINTS
    far = np.full(count, 20.0)
    far[np.random.default_rng(seed).permutation(count)[: round(share * count)]] = 1.0
    return [[float(d) for d in image] for image in far.reshape(IMAGES, JOINTS)]


def condition(drop: str, rate: float) -> Row:
    return {"drop": drop, "rate": rate, "block_size": 5}


def study(
    results: Mapping[tuple[str, float], Sequence[float]],
    validation: Callable[[str, float], float] = lambda drop, rate: 0.5,
    train_size: int = 32,
) -> list[Row]:
    """Return rows with the given fractions of test joints within 4 pixels."""
    rows = [begun()]
    for (drop, rate), shares in results.items():
        costs = {"ratio": 1.25, "step_ms": 30.0, "peak_mb": 17.0, "rounds": 24}
        rows.append({"kind": "timing", **condition(drop, rate), **costs, **WRITTEN})
        for seed, share in enumerate(shares):
            parts = {"test": share, "train": 1.0, "validation": validation(drop, rate)}
            curve = {"radii": [0.0, 8.0, 16.0], "pck": [0.0, share, 1.0]}
            rows.append(
                {
                    "kind": "run",
                    **condition(drop, rate),
                    "train_size": train_size,
                    "seed": seed,
                    "metrics": {part: summary_metrics(of) for part, of in parts.items()},
                    "curve": dict.fromkeys(parts, curve),
                    "errors": {"test": errors(share)},
                    "written": "2026-11-26T01:00:00+00:00",
                }
            )
    return rows

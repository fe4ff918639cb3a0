"""The parts that are mutated: their files, the tests that must notice, what is imported anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCE = Path("src/mapdrop")


@dataclass(frozen=True)
class Part:
    """A part of the package.

    Attributes:
        name: as in `make mutants PART=name`.
        files: to mutate, below `SOURCE`.
        tests: files and folders of tests.
        reloads: the package that is imported anew for each mutant: all that may hold what the
            files define, and nothing that registers itself with a framework.
        frameworks: what tests import, once for all mutants.
        tables: files of which others hold the dictionaries alone.
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    reloads: str
    frameworks: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


PARTS = (
    Part(
        "spec",
        tuple(
            f"spec/{name}.py"
            for name in (
                "pattern", "binding", "law", "mask_spec", "words", "seed", "sharding", "symbolic",
                "numpy_coins", "branch", "local_spec", "variable_rate", "warn",
            )
        ),
        ("tests/spec",),
        "mapdrop",
        ("numba", "torch"),
    ),
    Part(
        "graph",
        tuple(
            f"torch/graph/{name}.py"
            for name in ("registry", "record", "rules", "sample_rules", "facts")
        ),
        tuple(
            f"tests/torch/graph/test_{name}.py"
            for name in ("registry", "sample_rules", "sample_places", "records", "replicas")
        ),
        "mapdrop.torch",
        tables=("torch/graph/registry.py",),
    ),
    Part(
        "metrics",
        ("localize/metrics.py", "localize/scores.py"),
        ("tests/localize/test_metrics.py", "tests/localize/test_metrics_properties.py"),
        "mapdrop.localize",
    ),
)  # fmt: skip


def parts_of(wanted: str) -> list[tuple[Part, tuple[str, ...]]]:
    """Return what `wanted` names: all ("") or one part, or one file as "spec/law.py"."""
    found = [
        (part, part.files if wanted in ("", part.name) else (wanted,))
        for part in PARTS
        if wanted in ("", part.name, *part.files)
    ]
    if not found:
        known = ", ".join(part.name for part in PARTS)
        raise SystemExit(f"{wanted!r} is no part: one of {known}, or a file as spec/law.py")
    return found

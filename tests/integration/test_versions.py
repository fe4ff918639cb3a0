"""The lower bounds that the package declares are the versions that `make versions` tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[2]
NAMES = ("numpy", "numba", "torch", "jax", "flax", "equinox", "tensorflow", "keras")


def found(file: Path, between: str, name: str) -> list[str]:
    """The versions that stand behind the name in the file."""
    return re.findall(rf"^[^#\n]*?\b{name}{between}([\d.]+)", file.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_the_lower_bound_is_what_is_tested(name: str) -> None:
    (declared,) = found(ROOT / "pyproject.toml", ">=", name)
    (tested,) = found(ROOT / "tests" / "versions" / "lowest.txt", "==", name)
    assert Version(declared) == Version(tested)


@pytest.mark.parametrize("name", NAMES)
def test_the_newest_is_not_older_than_what_the_project_is_developed_with(name: str) -> None:
    used = found(ROOT / "pyproject.toml", "==", name) + found(ROOT / "constraints.txt", "==", name)
    (newest,) = found(ROOT / "tests" / "versions" / "newest.txt", "==", name)
    assert all(Version(version) <= Version(newest) for version in used)

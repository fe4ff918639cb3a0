"""The bounds that pyproject.toml declares are the versions that the rows of tox.ini test."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from itertools import product
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.release.conftest import ROOT, Built
from tools import release

NAMES = ("numpy", "numba", "torch", "jax", "flax", "equinox", "tensorflow", "keras")


def _tox() -> ConfigParser:
    settings = ConfigParser(interpolation=None, comment_prefixes="#")
    settings.read(ROOT / "tox.ini", encoding="utf-8")
    return settings


def rows(text: str) -> list[str]:
    """Return the names of an `env_list`, in which braces hold alternatives."""
    found = []
    for line in text.split():
        parts = re.split(r"\{(.*?)\}", line)  # Every second one is what stood in braces.
        choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
        found += ["".join(choice) for choice in product(*choices)]
    return found


def pins(text: str, kind: str) -> dict[str, set[Version]]:
    """Return the versions of each framework in the rows of a kind, "lowest" or "newest"."""
    found: dict[str, set[Version]] = {name: set() for name in NAMES}
    for line in text.strip().splitlines():
        row, _, requirement = line.rpartition(": ")
        if kind in row:
            name, _, version = requirement.removesuffix("\n").partition("==")
            found[name.removesuffix("-cpu")].add(Version(version))
    return found


ROWS = rows(_tox()["tox"]["env_list"])
DEPENDENCIES = _tox()["testenv"]["deps"]


def _declared(built: Built, name: str) -> Version:
    """The lower bound of a requirement of the wheel."""
    bounds = {
        Version(bound.version)
        for line in built.metadata.get_all("Requires-Dist", [])
        if (requirement := Requirement(line)).name == name
        for bound in requirement.specifier
        if bound.operator == ">="
    }
    (bound,) = bounds
    return bound


def _used(name: str) -> list[Version]:
    """The pinned versions that the project is developed with."""
    text = "".join((ROOT / file).read_text() for file in ("pyproject.toml", "constraints.txt"))
    return [Version(found) for found in re.findall(rf'^\s*"?{name}==([\d.]+)', text, re.MULTILINE)]


@pytest.mark.subprocess
@pytest.mark.parametrize("name", NAMES)
def test_the_lower_bound_is_what_is_tested(built: Built, name: str) -> None:
    # Each Python has its lowest NumPy: the lowest of them is the bound.
    assert _declared(built, name) == min(pins(DEPENDENCIES, "lowest")[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_newest_is_not_older_than_what_the_project_is_developed_with(name: str) -> None:
    assert all(used <= max(pins(DEPENDENCIES, "newest")[name]) for used in _used(name))


def test_the_pinned_torch_is_what_the_project_is_developed_with() -> None:
    assert pins(DEPENDENCIES, "pinned")["torch"] == set(_used("torch"))


@pytest.mark.subprocess
def test_each_python_that_is_promised_has_its_rows(built: Built) -> None:
    promised = set()
    for line in built.metadata.get_all("Classifier", []):
        promised |= set(re.findall(r"^Programming Language :: Python :: (3\.\d+)$", line))
    for kind in ("lowest", "newest"):
        assert {
            row.rpartition("-")[2] for row in ROWS if row.startswith(f"numpy-{kind}-")
        } == promised
    assert {row.rpartition("-")[2] for row in ROWS} == promised


@pytest.mark.parametrize("kind", ["lowest", "newest"])
def test_each_framework_has_its_rows(kind: str) -> None:
    for name in ("numpy", "numba", "torch", "jax", "tensorflow", "keras"):
        assert any(row.startswith(f"{name}-{kind}-") for row in ROWS), name


def test_the_tests_that_a_row_names_are_there() -> None:
    named = re.findall(r"tests/[\w./]+", "".join(_tox()[part][key] for part, key in _COMMANDS))
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name.partition("::")[0]).exists()] == []


_COMMANDS = (
    ("testenv", "commands"),
    *(("run", name) for name in ("pytest", "common", "torch", "torch_2_8_lacks")),
)


def test_what_is_read_of_a_row() -> None:
    assert rows("a-{1,2}-x\nb-{3,4}") == ["a-1-x", "a-2-x", "b-3", "b-4"]
    text = "pytest>=8\nnumpy-lowest-{3.10,3.11}: numpy==1.24.0\nkeras-lowest: tensorflow-cpu==2.1"
    found = pins(text, "lowest")
    assert found["numpy"] == {Version("1.24")}
    assert found["tensorflow"] == {Version("2.1")}
    assert not found["torch"]
    assert not pins(text, "newest")["numpy"]


@pytest.mark.subprocess
@pytest.mark.parametrize(("options", "result"), [((), "SKIP"), (release.STRICT, "FAIL code 1")])
def test_a_row_without_its_python_is_named(
    tmp_path: Path, options: tuple[str, ...], result: str
) -> None:
    """As skipped among all rows, as failed where it is asked for by name."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    row = next(row for row in ROWS if not row.endswith(f"-{here}"))
    command = [sys.executable, "-m", "tox", "run", "-c", str(ROOT / "tox.ini"), *options, "-e", row]
    done = subprocess.run(
        [*command, "--workdir", str(tmp_path / "work"), "--no-provision"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert f"{row}: {result}" in done.stdout
    assert "could not find python interpreter" in done.stdout

"""Pyright knows the type of nearly every public symbol, so that a user's checker does, too.

What it does not know are the classes of Keras, whose bases depend on the backend that is chosen.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mapdrop
from tests.conftest import missing

LEAST = 0.99


def completeness(package: str, folder: Path) -> float:
    """Return the share of a typed package's public symbols whose types are known."""
    if importlib.util.find_spec("pyright") is None:
        missing("pyright")
    # It asks the `python` of the path where packages are.
    found = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    options = ["--verifytypes", package, "--ignoreexternal", "--outputjson"]
    done = subprocess.run(
        [sys.executable, "-m", "pyright", *options],
        env={**os.environ, **found},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=folder,
    )
    told = json.loads(done.stdout)["typeCompleteness"]
    assert Path(told["packageRootDirectory"]) == folder / package, told["packageRootDirectory"]
    score: float = told["completenessScore"]
    return score


@pytest.mark.subprocess
def test_public_types_are_known() -> None:
    assert completeness("mapdrop", Path(mapdrop.__path__[0]).parent) >= LEAST


@pytest.mark.subprocess
def test_a_type_that_is_not_known(tmp_path: Path) -> None:
    package = tmp_path / "untyped"
    package.mkdir()
    (package / "py.typed").touch()
    (package / "__init__.py").write_text("def known() -> int: ...\ndef other(x): ...\n")
    assert completeness("untyped", tmp_path) < LEAST

"""A session kills what its tests notice, and only that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = """
import argparse, sys
from tests.mutants.__main__ import run
from tests.mutants.mutant import mutants_of
from tests.mutants.parts import Part

part = Part("one file", ("spec/branch.py",), (f"tests/spec/{sys.argv[1]}.py",), "mapdrop")
mutants = mutants_of("spec/branch.py")
survivors = run(part, mutants, argparse.Namespace(jobs=2, most=None))
print("survive:", len(survivors), "of", len(mutants))
"""


@pytest.mark.subprocess
@pytest.mark.parametrize(("tests", "share"), [("test_branch", 0), ("test_variable_rate", 1)])
def test_mutants_survive_tests_of_something_else(tests: str, share: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-c", RUN, tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    survivors, of = done.stdout.partition("survive: ")[2].split("\n")[0].split(" of ")
    assert int(of) > 20
    assert int(survivors) == share * int(of)

"""A body of tests in a process of its own, for what cannot share one with the rest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def run(body: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest on the body, with these arguments and variables."""
    command = [sys.executable, "-m", "pytest", str(body), "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *arguments], env={**os.environ, **environment}, capture_output=True, text=True,
        check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip


def check_passed(done: subprocess.CompletedProcess[str], least: int) -> None:
    """At least so many tests passed, and no other test was there."""
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= least, done.stdout
    assert "skipped" not in done.stdout, done.stdout

"""Bodies of tests in a process of their own, for what cannot share one with the rest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*bodies: Path | str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on the bodies, among which may be its options, with these variables."""
    command = [sys.executable, "-m", "pytest", "-q", "-rap", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *map(str, bodies)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def check_passed(done: subprocess.CompletedProcess[str], body: Path, least: int) -> None:
    """Raise unless at least so many tests of the body passed, and every one of them did."""
    name = re.escape(body.relative_to(ROOT).as_posix())
    outcomes = re.findall(rf"^([A-Z]+) (?:\[\d+\] )?{name}\b", done.stdout, re.MULTILINE)
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: some test of some body failed.
    assert set(outcomes) <= {"PASSED"}, done.stdout + done.stderr
    assert len(outcomes) >= max(least, 1), done.stdout + done.stderr

"""A body of tests in a process of its own, because Keras takes its backend when it is imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import framework

BACKENDS = ("tensorflow", "torch", "jax")


def run(body: Path, backend: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The body on the backend; `arguments` are pytest's."""
    framework("keras")
    command = [sys.executable, "-m", "pytest", str(body), "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def check_passed(done: subprocess.CompletedProcess[str], least: int) -> None:
    """At least so many tests passed, and no other test was there."""
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= least, done.stdout
    assert "skipped" not in done.stdout, done.stdout

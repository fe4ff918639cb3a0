"""The layers on each backend of Keras, which is chosen when it is imported: a process for each.

What is tested stands in body.py; every mask there is compared with the NumPy specification, so the
backends have one mask for one seed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import framework

BACKENDS = ("tensorflow", "torch")
BODY = Path(__file__).with_name("body.py")
LEAST = 180  # Tests that have to pass on each backend.


def _run(backend: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", str(BODY), "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend(backend: str) -> None:
    framework("keras")
    framework(backend)
    done = _run(backend)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= LEAST
    assert "skipped" not in done.stdout, done.stdout


def test_a_failing_body_twin() -> None:
    framework("keras")
    done = _run("torch", "-k", "test_the_backend_is_the_one_asked_for", "--broken")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout


def test_a_backend_that_is_not_there_twin() -> None:
    framework("keras")
    assert _run("nobody's").returncode not in (0, 1)

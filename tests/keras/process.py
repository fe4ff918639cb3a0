"""A body of tests on a backend of Keras', which is taken when Keras is imported."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests import process
from tests.conftest import framework

BACKENDS = ("tensorflow", "torch", "jax")


def run(body: Path, backend: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The body on the backend; `arguments` are pytest's."""
    framework("keras")
    return process.run(body, *arguments, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3")

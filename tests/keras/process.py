"""Bodies of tests on a backend of Keras, which is chosen when Keras is imported."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests import process
from tests.conftest import framework

BACKENDS = ("tensorflow", "torch", "jax")


def run(backend: str, *bodies: Path | str) -> subprocess.CompletedProcess[str]:
    """Run pytest on the bodies, among which may be its options, on the backend."""
    framework("keras")
    lean = ("-p", "tests.keras.lean")
    return process.run(*lean, *bodies, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3")

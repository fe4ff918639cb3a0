"""The layers on each backend of Keras, which is chosen when it is imported: a process for each.

What is tested stands in body.py; every mask there is compared with the NumPy specification, so the
backends have one mask for one seed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import framework, missing
from tests.keras.process import BACKENDS, run
from tests.process import check_passed

BODY = Path(__file__).with_name("body.py")
OWN = Path(__file__).with_name("keras_own.py")
LEAST, LEAST_OWN = 175, 20  # Tests that have to pass on each backend.


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend(backend: str) -> None:
    framework(backend)
    check_passed(run(BODY, backend), LEAST)


@pytest.mark.parametrize("backend", BACKENDS)
def test_keras_own_tests(backend: str) -> None:
    framework(backend)
    done = run(OWN, backend)
    if done.returncode == 5:  # No test was found, since the first import of them has it skip.
        missing("Keras' own tests, in the package of Keras")
    check_passed(done, LEAST_OWN)


def test_a_failing_body_twin() -> None:
    done = run(BODY, "torch", "-k", "test_the_backend_is_the_one_asked_for", "--broken")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    with pytest.raises(AssertionError):
        check_passed(done, 0)


def test_a_backend_that_is_not_there_twin() -> None:
    assert run(BODY, "nobody's").returncode not in (0, 1)

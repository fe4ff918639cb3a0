"""The layers on each backend of Keras, which is chosen when it is imported: a process for each.

What is tested stands in the bodies; every mask there is compared with the NumPy specification, so
the backends have one mask for one seed.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.conftest import framework, missing
from tests.integration.everywhere.search import WRONG
from tests.keras.process import BACKENDS, run
from tests.process import ROOT, check_passed

pytestmark = pytest.mark.subprocess

BODY = Path(__file__).with_name("body.py")
OWN = Path(__file__).with_name("keras_own.py")
DRAWN = Path(__file__).with_name("drawn_cases.py")
SCHEDULE = Path(__file__).with_name("schedule_body.py")
LEAST, LEAST_OWN, LEAST_SCHEDULE = 175, 20, 28  # Tests that have to pass on each backend.
# By the module, so that a backend's tests follow each other, in one process of the suite.
backends = pytest.mark.parametrize("backend", BACKENDS, scope="module")


@cache
def ran(backend: str) -> CompletedProcess[str]:
    """All bodies in one process: what takes most of its time is the import of the backend."""
    framework(backend)
    return run(backend, BODY, OWN, DRAWN, SCHEDULE)


@backends
def test_backend(backend: str) -> None:
    check_passed(ran(backend), BODY, LEAST)


@backends
def test_keras_own_tests(backend: str) -> None:
    done = ran(backend)
    if f"SKIPPED [1] {OWN.relative_to(ROOT).as_posix()}" in done.stdout:
        missing("Keras' own tests, in the package of Keras")
    check_passed(done, OWN, LEAST_OWN)


@backends
def test_drawn_cases(backend: str) -> None:
    check_passed(ran(backend), DRAWN, 1 + len(WRONG))


@backends
def test_schedules(backend: str) -> None:
    check_passed(ran(backend), SCHEDULE, LEAST_SCHEDULE)


@pytest.mark.long
@backends
def test_many_drawn_cases(backend: str) -> None:
    framework(backend)
    done = run(backend, DRAWN, "-m", "long", "-rapP")
    check_passed(done, DRAWN, 1)
    print(done.stdout)


def test_a_failing_body_twin() -> None:
    there = next(filter(find_spec, reversed(BACKENDS)))
    done = run(there, BODY, "-k", "test_the_backend_is_the_one_asked_for", "--broken")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    with pytest.raises(AssertionError):
        check_passed(done, BODY, 0)


def test_a_backend_that_is_not_there_twin() -> None:
    assert run("nobody's", BODY).returncode not in (0, 1)

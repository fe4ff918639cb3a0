"""The memory of a process of its own, in which what is freed goes back to the system at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.process import check_passed, run

BODY = Path(__file__).with_name("memory_body.py")


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_kept_for_the_backward_pass() -> None:
    # Where the processor suits oneDNN, TensorFlow with it never returns memory.
    check_passed(run(BODY, TF_ENABLE_ONEDNN_OPTS="0"), BODY, 5)

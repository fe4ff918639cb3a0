"""Real processes that talk over Gloo: whether all drop alike is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.subprocess

WORKER = Path(__file__).with_name("ranks.py")
ALIKE = "same on every rank: {}: each drops the same places of its own samples."


def test_processes_that_drop_alike_are_found(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(WORKER), str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    reasons = {case: [text.partition(" Add the rank")[0] for text in found]
               for case, found in first.items()}  # fmt: skip
    assert reasons == {
        "one seed": [ALIKE.format("PyTorch's generator has the same state in all processes")],
        "shard": [],
        "own seeds": [],
        "seeded": [
            ALIKE.format("the model is seeded alike in all processes, without mapdrop.torch.shard")
        ],
        "seeded by rank": [],
        "no dropout": [],
    }

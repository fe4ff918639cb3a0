"""Real processes that talk over Gloo: a run on one, two or four of them drops the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.subprocess, pytest.mark.training]

WORKER = Path(__file__).with_name("ranks.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What the first process of 1, 2 and 4 wrote; the others checked what they had, too."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, str(WORKER), str(folder)],
        capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {ranks: json.loads((folder / f"{ranks}.json").read_text()) for ranks in (1, 2, 4)}


@pytest.mark.parametrize("dealt", ["contiguous", "strided"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_the_loss_curve_is_that_of_one_process(
    runs: dict[int, dict[str, Any]], ranks: int, dealt: str
) -> None:
    alone = np.array(runs[1][dealt])
    assert len(alone) == 12
    assert len(set(alone)) == 12
    np.testing.assert_allclose(runs[ranks][dealt], alone, rtol=1e-9)


@pytest.mark.parametrize("ranks", [2, 4])
def test_processes_that_do_not_know_of_each_other_twin(
    runs: dict[int, dict[str, Any]], ranks: int
) -> None:
    assert np.abs(np.array(runs[ranks]["untold"]) / runs[1]["untold"] - 1).max() > 0.01


def test_every_placement_of_a_dtensor_was_compared(runs: dict[int, dict[str, Any]]) -> None:
    assert {ranks: run["dtensors"] for ranks, run in runs.items()} == {1: 6, 2: 18, 4: 24}

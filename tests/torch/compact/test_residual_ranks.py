"""Branches that keep nobody on one rank: no hang, no unused parameters, the same gradients."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.torch.compact.residual_ranks import KINDS, RANKS, SAMPLES, STEPS


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_two_ranks_are_those_of_one(kind: str, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.torch.compact.residual_ranks", str(tmp_path), kind]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    counts = torch.tensor([torch.load(tmp_path / f"{kind}-{rank}.pt") for rank in range(RANKS)])
    assert counts.shape == (RANKS, STEPS, 2)
    assert counts.max() <= SAMPLES
    alone = (counts == 0).any(dim=0) & (counts > 0).any(dim=0)
    assert alone.any()  # One rank kept nobody where the other did.

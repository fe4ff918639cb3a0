"""What is compared does the same work: everything drops at its rate, afresh at each call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mapdrop.tools.adapters import torch_peers as peers
from mapdrop.tools.adapters.adapter import Work
from mapdrop.tools.bench.cases import cases
from tests.conftest import framework
from tests.tools.bench.comparisons import SMALL, check, check_rate, small

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("name", "works"), [("numpy", 8), ("torch", 40), ("jax", 16)])
def test_every_work_drops_at_its_rate(name: str, works: int) -> None:
    framework(name)
    assert check(name) >= works


_KERAS = """
import tests.keras.lean
from tests.tools.bench.comparisons import check
print(check("keras"))
"""


@pytest.mark.parametrize("name", ["tensorflow", "torch", "jax"])
def test_keras_works_drop_at_their_rates(name: str) -> None:
    framework(name)
    framework("keras")
    done = subprocess.run(
        [sys.executable, "-c", _KERAS],
        env={**os.environ, "KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 8


def test_tensorflow_works_drop_at_their_rates() -> None:
    framework("tensorflow")
    assert check("tensorflow") >= 16


def test_a_peer_of_another_rate_or_that_drops_nothing_is_found() -> None:
    case, _ = next(pair for pair in small("torch") if pair[0].operation == "spatial")
    wrong = Work(lambda: torch.nn.functional.dropout2d(torch.ones(case.size), 0.3))
    for work in (wrong, Work(lambda: torch.ones(case.size))):
        with pytest.raises(AssertionError):
            check_rate(case, "F.dropout2d", work)


@pytest.mark.parametrize(
    ("drop", "rate"), [(peers.torchvision_drop_block2d, 0.093), (peers.timm_drop_block_2d, 0.209)]
)
def test_others_blocks_have_the_law_that_is_published_of_them(drop: object, rate: float) -> None:
    x = torch.ones(64, 256, *SMALL[2].places)
    torch.manual_seed(0)
    y = drop(x, 0.1, 7)  # type: ignore[operator]
    # A map of 196 values has about one block: its share deviates by about 0.13.
    assert float((y == 0).float().mean()) == pytest.approx(rate, abs=4 * 0.15 / (64 * 256) ** 0.5)
    assert float(y.mean()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "drop", [peers.timm_drop_path, peers.torchvision_stochastic_depth], ids=lambda d: d.__name__
)
def test_others_paths_drop_whole_samples(drop: object) -> None:
    y = drop(torch.ones(200, 3, 4), 0.2)  # type: ignore[operator]
    assert set(y.unique().tolist()) == {0.0, 1.25}
    assert (y == y[:, :1, :1]).all()


def test_where_there_is_a_gpu_the_same_is_timed_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from mapdrop.tools.adapters.torch import Adapter

    here = [case for case in cases("torch", Adapter) if case.operation != "compact"]
    assert {case.device for case in here} == {"cpu"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    there = [case for case in cases("torch", Adapter) if case.device == "cuda"]
    assert [case.name.replace(", cuda", "") for case in there] == [case.name for case in here]
    assert any(case.quick for case in there)

"""The machine's constants are plausible, and their measurement changes nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mapdrop import kernels
from mapdrop.system.timing import Times
from mapdrop.torch.compact import Costs, calibrate, calibration
from mapdrop.torch.compact.calibration import _calibrate
from mapdrop.torch.compact.cost_model import Workload
from mapdrop.torch.graph.lattice import AllMaps, Kept


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    _calibrate.cache_clear()
    yield
    _calibrate.cache_clear()


def refused(_: Tensor) -> Any:
    raise AssertionError("a hook of the caller's saw a tensor")


CIRCUMSTANCES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "none": nullcontext,
    "no_grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "hooks on saved tensors": lambda: saved_tensors_hooks(refused, refused),
}


@pytest.mark.parametrize("circumstance", CIRCUMSTANCES.values(), ids=CIRCUMSTANCES)
def test_constants_are_those_of_a_processor(
    circumstance: Callable[[], AbstractContextManager[Any]],
) -> None:
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    with circumstance():
        found = calibrate()
    assert 1e8 < found.flops < 1e14
    assert 0.2 < found.own / found.flops < 5
    assert 1e-6 < found.own_call < 1e-1
    assert 1e8 < found.activations < 1e13
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("own", [0.02, 0.03])
@pytest.mark.parametrize("call", [0.001, 0.002])
def test_they_predict_what_was_measured(
    own: float, call: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best round is the second, where mapdrop's convolution alone is disturbed."""

    def timed(*_: object) -> list[Times]:
        dense, call_, copy = (Times((2 * s, s, 4 * s)) for s in (0.04, call, 0.003))
        return [dense, Times((2 * own, 1.5 * own, 4 * own)), call_, copy]

    monkeypatch.setattr(calibration, "timed", timed)
    found, cores = calibrate(), torch.get_num_threads()
    one = replace(found, flops=found.flops / cores, own=found.own / cores)
    work = Workload(8, 128, 128, 9, 256, 256, 3)
    kept = Kept(0, 128, 0.75, 8, 128, 96)
    assert one.seconds(work, AllMaps(128), AllMaps(128)) == pytest.approx(0.04)
    assert one.seconds(work, kept, kept) == pytest.approx(own)
    assert found.own_call == pytest.approx(call / 3)
    assert found.activations == pytest.approx(2 * 2**22 * 4 / 0.003)


def test_they_are_measured_once() -> None:
    assert calibrate() is calibrate()


def test_without_kernels_they_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "for_convolution", lambda: None)
    assert calibrate() == Costs()

"""The machine's constants are plausible, and their measurement changes nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mapdrop import kernels
from mapdrop.torch.compact import Costs, calibrate
from mapdrop.torch.compact.calibration import _calibrate


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
    assert 1e8 < found.activations < 1e13
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads


def test_they_are_measured_once() -> None:
    assert calibrate() is calibrate()


def test_without_kernels_they_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "for_convolution", lambda: None)
    assert calibrate() == Costs()

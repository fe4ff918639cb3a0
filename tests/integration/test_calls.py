"""How many Python functions of mapdrop's a warm drop calls: a count, where a time would be noise.

A network of 50 small drops pays for each of them 100 times a step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

import mapdrop
from tests.conftest import framework

SOURCE = str(Path(mapdrop.__file__).parent)
PATTERNS = ["b c h w -> b c", "b ... -> b", "... -> ..."]


def calls(run: Callable[[], object], before: int = 3) -> list[str]:
    """Return the names of mapdrop's functions that a call enters after some others."""
    entered: list[str] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(SOURCE):
            entered.append(frame.f_code.co_name)

    for _ in range(before):
        run()
    profile = sys.getprofile()
    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(profile)
    return entered


@pytest.mark.parametrize("pattern", PATTERNS)
def test_numpy(pattern: str) -> None:
    framework("numba")
    x = np.ones((8, 16, 4, 4), np.float32)
    assert 1 < len(calls(lambda: mapdrop.drop(x, pattern, 0.5))) <= 9


@pytest.mark.parametrize("pattern", PATTERNS)
def test_torch(pattern: str) -> None:
    framework("numba")
    torch = framework("torch")
    x = torch.ones(8, 16, 4, 4)
    assert 1 < len(calls(lambda: mapdrop.drop(x, pattern, 0.5))) <= 16
    assert 1 < len(calls(lambda: mapdrop.drop(x, pattern, 0.5, inplace=True))) <= 19
    gradient = torch.ones_like(x)
    x.requires_grad_()
    assert 1 < len(calls(lambda: mapdrop.drop(x, pattern, 0.5).backward(gradient))) <= 23


def test_torch_layers() -> None:
    framework("numba")
    torch = framework("torch")
    layer = framework("mapdrop.torch").SpatialDropout2d(0.5)
    x = torch.ones(8, 16, 4, 4)
    assert 1 < len(calls(lambda: layer(x))) <= 17


@pytest.mark.parametrize("pattern", PATTERNS)
def test_tensorflow(pattern: str) -> None:
    """The twin is in it: what has come but rarely is not traced, and calls more."""
    tf = framework("tensorflow")
    x = tf.ones([8, 16, 4, 4])

    def both() -> None:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = mapdrop.drop(x, pattern, 0.4)
        tape.gradient(y, x)

    rare, often = (calls(both, before) for before in (3, 20))
    assert 1 < len(often) <= 29 < len(rare)


def test_what_counts_is_each_call() -> None:
    """The twin: two drops are twice as many."""
    framework("numba")
    x = np.ones((8, 16, 4, 4), np.float32)

    def drop(times: int) -> None:
        for _ in range(times):
            mapdrop.drop(x, "b c h w -> b c", 0.5)

    one, two = calls(lambda: drop(1)), calls(lambda: drop(2))
    assert len(two) == 2 * len(one)
    assert len(two) > 9

"""The peak of a piece of work is what its tensors hold at the worst moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import framework

torch = framework("torch")
memory = framework("mapdrop.tools.memory")

KIB = 1 << 10
WORKS: dict[str, tuple[Callable[[], object], int]] = {
    "one": (lambda: torch.empty(KIB, dtype=torch.uint8), KIB),
    "one after the other": (lambda: [None for _ in range(3) if torch.empty(2 * KIB).numel()], 8192),
    "two at once": (lambda: (torch.empty(KIB), torch.empty(KIB)), 8192),
    "nothing": (lambda: None, 0),
}


@pytest.mark.parametrize("name", WORKS)
def test_the_peak(name: str) -> None:
    work, most = WORKS[name]
    assert memory.peak(work) == most


def test_in_place_nothing_is_allocated() -> None:
    framework("numba")
    drop = framework("mapdrop").drop
    x = torch.ones(32, 16, 8, 8)
    drop(x, "b c h w -> b c", 0.5, seed=1, inplace=True)
    assert memory.peak(lambda: drop(x, "b c h w -> b c", 0.5, seed=2, inplace=True)) == 0
    whole = x.numel() * 4
    assert memory.peak(lambda: drop(x, "b c h w -> b c", 0.5, seed=3)) >= whole


def test_what_was_there_before_counts_for_nothing() -> None:
    held: list[Any] = []
    memory.peak(lambda: held.append(torch.empty(16 * KIB)))  # Its size is known to the profiler.

    def work() -> Any:
        held.clear()
        return torch.empty(KIB)

    assert memory.peak(work) == 4 * KIB


def test_a_profile_of_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_recorded", lambda work: None)
    with pytest.raises(RuntimeError, match="recorded no allocation"):
        memory.peak(lambda: torch.empty(1))

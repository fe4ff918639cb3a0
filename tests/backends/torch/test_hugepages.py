"""Huge pages are asked for where a result is large. Only the time of a drop would show it."""

from __future__ import annotations

import mmap

import pytest
import torch

import mapdrop
from mapdrop.backends.torch import hugepages


@pytest.fixture
def advised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """The advice to the system so far: an address, a number of bytes, and which advice."""
    given: list[tuple[int, int, int]] = []
    advise = lambda *advice: given.append(advice)  # noqa: E731
    monkeypatch.setattr(hugepages, "_madvise", lambda: advise)
    monkeypatch.setattr(hugepages, "_ADVICE", 14)
    monkeypatch.setattr(hugepages, "_LARGE", 1 << 20)
    return given


@pytest.mark.parametrize("values", [1 << 18, (1 << 18) + 12345])
def test_of_a_large_result_all_whole_pages(
    advised: list[tuple[int, int, int]], values: int
) -> None:
    y = mapdrop.drop(torch.ones(4, values // 4), "b c -> b", 0.5, seed=1)
    ((start, size, advice),) = advised
    page, begin, end = mmap.PAGESIZE, y.data_ptr(), y.data_ptr() + y.untyped_storage().nbytes()
    assert advice == 14
    assert start % page == size % page == 0
    assert 0 <= start - begin < page
    assert 0 <= end - (start + size) < page


def test_not_of_a_small_result(advised: list[tuple[int, int, int]]) -> None:
    mapdrop.drop(torch.ones(4, (1 << 16) - 1), "b c -> b", 0.5, seed=1)
    assert not advised

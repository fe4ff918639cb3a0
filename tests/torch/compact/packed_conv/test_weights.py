"""Parts of weights, gathered and added back: compiled or by PyTorch, as by indexing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mapdrop import kernels
from mapdrop.torch.compact.packed_conv.weights import gather, scatter_add
from tests.torch.compact.agreement import pixels

KERNELS = {"1": (1, 1), "3 x 3": (3, 3), "5 x 5": (5, 5), "1-D": (4,), "matrix": (), "inner": (7,)}
ROWS, COLUMNS = 20, 17
IDS: dict[str, tuple[list[int] | None, list[int] | None]] = {
    "all": (None, None),
    "rows": ([0, 3, 19], None),
    "columns": (None, [1, 2, 16]),
    "both": ([5, 4, 19, 0], [16, 0, 7]),
    "zeros at the end": ([2, 18, ROWS, ROWS], [0, 15, COLUMNS]),
    "zeros only": ([ROWS, ROWS], [COLUMNS]),
    "zeros by row": (None, [3, COLUMNS]),
    "none": ([], [2]),
}


@pytest.fixture(params=["compiled", "by torch"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "by torch":
        monkeypatch.setattr(kernels, "for_gather", lambda: None)
    else:
        assert kernels.for_gather() is not None, "Numba is a dependency of the tests"
    return str(request.param)


@pytest.fixture(params=[torch.float32, torch.float64, torch.bfloat16], ids=["f32", "f64", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    chosen: torch.dtype = request.param
    return chosen


def tensor(ids: list[int] | None) -> Tensor | None:
    return None if ids is None else torch.tensor(ids, dtype=torch.int64)


def listed(ids: list[int] | None, n: int) -> list[int]:
    return list(range(n)) if ids is None else ids


def indexed(weight: Tensor, rows: list[int] | None, columns: list[int] | None) -> Tensor:
    zeros = torch.zeros_like(weight[0, 0])
    found = [
        torch.stack(
            [weight[r, c] if r < ROWS and c < COLUMNS else zeros for c in listed(columns, COLUMNS)]
        )
        for r in listed(rows, ROWS)
    ]
    return (
        torch.stack(found)
        if found
        else weight.new_zeros((0, *weight[:, : len(columns or [])].shape[1:]))
    )


@pytest.mark.parametrize("gain", [1.0, 2.5])
@pytest.mark.parametrize(("rows", "columns"), IDS.values(), ids=IDS)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_gathered_parts(
    implementation: str,
    dtype: torch.dtype,
    kernel: tuple[int, ...],
    rows: list[int] | None,
    columns: list[int] | None,
    gain: float,
) -> None:
    weight = pixels(ROWS, COLUMNS, *kernel).to(dtype)
    found = gather(weight, tensor(rows), tensor(columns), gain)
    assert torch.equal(found, indexed(weight, rows, columns) * gain)


@pytest.mark.parametrize(("rows", "columns"), IDS.values(), ids=IDS)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_added_parts(
    implementation: str,
    dtype: torch.dtype,
    kernel: tuple[int, ...],
    rows: list[int] | None,
    columns: list[int] | None,
) -> None:
    total = pixels(ROWS, COLUMNS, *kernel).to(dtype)
    expected = total.clone()
    shape = (len(listed(rows, ROWS)), len(listed(columns, COLUMNS)), *kernel)
    part = (pixels(*shape) + 1).to(dtype)
    for i, r in enumerate(listed(rows, ROWS)):
        for j, c in enumerate(listed(columns, COLUMNS)):
            if r < ROWS and c < COLUMNS:
                expected[r, c] += part[i, j]
    scatter_add(total, part, tensor(rows), tensor(columns))
    assert torch.equal(total, expected)


@pytest.mark.parametrize("ids", [[0, 4, 2], [1, ROWS, ROWS], [ROWS], []], ids=str)
def test_gathered_parts_of_a_bias(implementation: str, ids: list[int]) -> None:
    bias, zero = pixels(ROWS), torch.zeros(1, dtype=torch.float64)
    expected = torch.cat([zero[:0], *[bias[i : i + 1] if i < ROWS else zero for i in ids]])
    assert torch.equal(gather(bias, torch.tensor(ids, dtype=torch.int64)), expected)


@pytest.mark.parametrize("ids", [[0, 4, 2], [1, ROWS, ROWS], [ROWS], []], ids=str)
def test_added_parts_of_a_bias(implementation: str, ids: list[int]) -> None:
    total, part = pixels(ROWS), pixels(len(ids)) + 1
    expected = total.clone()
    for i, n in enumerate(ids):
        if n < ROWS:
            expected[n] += part[i]
    scatter_add(total, part, torch.tensor(ids, dtype=torch.int64))
    assert torch.equal(total, expected)


def test_a_weight_in_another_memory_format(implementation: str) -> None:
    weight = pixels(ROWS, COLUMNS, 3, 3).to(memory_format=torch.channels_last)
    assert torch.equal(
        gather(weight, tensor([4, 1]), tensor([0, COLUMNS])), indexed(weight, [4, 1], [0, COLUMNS])
    )


def test_a_part_in_another_memory_format_is_added(implementation: str) -> None:
    total = pixels(ROWS, COLUMNS, 3, 3)
    part = pixels(2, 3, 3, 3).to(memory_format=torch.channels_last)
    expected = total.clone()
    expected[4, [0, 5, 6]] += part[0]
    expected[1, [0, 5, 6]] += part[1]
    scatter_add(total, part, tensor([4, 1]), tensor([0, 5, 6]))
    assert torch.equal(total, expected)


def test_large_weights_in_several_threads(implementation: str) -> None:
    weight, ids = pixels(300, 100, 3, 3), torch.arange(0, 300, 2)
    torch.set_num_threads(2)
    assert torch.equal(gather(weight, ids, None, 2.0), weight[::2] * 2)


def test_compiled_kernels_are_used_if_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = kernels.for_gather()
    assert fast is not None
    called: Any = []
    real = fast.gather
    monkeypatch.setattr(fast, "gather", lambda *given: called.append(1) or real(*given))
    gather(pixels(ROWS, COLUMNS, 3, 3), tensor([1]), None)
    assert called == [1]

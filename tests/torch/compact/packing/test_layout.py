"""Packed layouts: every map has its row, and packing and unpacking is masking."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from mapdrop.torch.compact.packing.gather import convert
from mapdrop.torch.compact.packing.layout import BLOCK, Layout, aligned_runs, dense_layout
from mapdrop.torch.graph.lattice import Bits
from tests.torch.compact.agreement import pixels

SPACE = (3, 2)


def random(samples: int, channels: int, rate: float, seed: int = 0) -> Bits:
    return np.random.default_rng(seed).random((samples, channels)) < rate


MASKS: dict[str, Bits] = {
    "half": random(4, 40, 0.5),
    "few channels": random(5, 3, 0.5),
    "one sample": random(1, 40, 0.3),
    "no sample": random(0, 40, 0.3),
    "no map": np.zeros((3, 20), bool),
    "all maps": np.ones((3, 20), bool),
    "a sample without any between others": np.array([[1] * 20, [0] * 20, [1, 0] * 10], bool),
    "shared by the batch": np.repeat(random(1, 40, 0.5), 4, axis=0),
    "shared by pairs": np.repeat(random(3, 24, 0.5), 2, axis=0),
    "one channel": np.array([[True], [False]]),
}


@pytest.fixture(params=list(MASKS.values()), ids=list(MASKS))
def bits(request: pytest.FixtureRequest) -> Bits:
    chosen: Bits = request.param
    return chosen


@pytest.fixture
def x(bits: Bits) -> Tensor:
    return pixels(*bits.shape, *SPACE)


def masked(x: Tensor, bits: Bits) -> Tensor:
    return x * torch.from_numpy(bits)[:, :, None, None]


def test_packing_and_unpacking_is_masking(bits: Bits, x: Tensor) -> None:
    layout = Layout.from_bits(bits, BLOCK)
    packed = convert(x, None, layout)
    assert packed.shape == (1, layout.rows, *SPACE)
    assert torch.equal(convert(packed, layout, None, x.shape), masked(x, bits))


def test_rows_hold_the_maps_of_their_sample_and_channel(bits: Bits, x: Tensor) -> None:
    layout = Layout.from_bits(bits, BLOCK)
    packed = convert(x, None, layout)[0]
    zero = torch.zeros(SPACE, dtype=x.dtype)
    for row, (n, c) in enumerate(zip(layout.row_samples, layout.row_channels, strict=True)):
        assert torch.equal(packed[row], zero if c == layout.channels else x[n, c])


def test_every_map_of_the_set_has_one_row(bits: Bits) -> None:
    layout = Layout.from_bits(bits, BLOCK)
    pairs = [
        (n, c)
        for n, c in zip(layout.row_samples, layout.row_channels, strict=True)
        if c < bits.shape[1]
    ]
    assert pairs == list(zip(*np.nonzero(bits), strict=True))


def test_the_two_indices_are_inverse_to_each_other(bits: Bits) -> None:
    layout = Layout.from_bits(bits, BLOCK)
    real = layout.dense_index >= 0
    assert np.array_equal(layout.row_index[layout.dense_index[real]], np.flatnonzero(real))
    assert np.array_equal(layout.row_index >= 0, bits.reshape(-1))


@pytest.mark.parametrize("block", [1, BLOCK])
def test_samples_are_padded_to_blocks(bits: Bits, block: int) -> None:
    layout = Layout.from_bits(bits, block)
    for run in layout.runs:
        count = int(bits[run.first].sum())
        assert run.size == min(-(-count // block) * block, bits.shape[1])


def test_the_rows_of_a_sample_begin_where_those_before_it_end(bits: Bits) -> None:
    layout = Layout.from_bits(bits, BLOCK)
    assert layout.sample_starts[0] == 0
    assert layout.sample_starts[-1] == layout.rows
    for n, (first, last) in enumerate(itertools.pairwise(layout.sample_starts)):
        assert (layout.row_samples[first:last] == n).all()


def test_runs_have_equal_samples_and_are_the_longest(bits: Bits) -> None:
    runs = Layout.from_bits(bits, BLOCK).runs
    assert [n for run in runs for n in range(run.first, run.last)] == list(range(len(bits)))
    assert all((bits[run.first : run.last] == bits[run.first]).all() for run in runs)
    later = zip(runs[:-1], runs[1:], strict=True)
    assert all((bits[a.first] != bits[b.first]).any() for a, b in later)


def test_a_run_views_its_samples(bits: Bits, x: Tensor) -> None:
    layout = Layout.from_bits(bits, BLOCK)
    packed = convert(x, None, layout)
    for run in layout.runs:
        real = run.channels[run.channels < layout.channels]
        for n in range(run.first, run.last):
            assert torch.equal(run.view(packed, n, n + 1)[0, : len(real)], x[n, real])


def test_two_layouts_in_a_row_apply_both_masks(bits: Bits, x: Tensor) -> None:
    other = random(bits.shape[0], bits.shape[1], 0.6, seed=5)
    source, target = Layout.from_bits(bits, BLOCK), Layout.from_bits(other, BLOCK)
    moved = convert(convert(x, None, source), source, target)
    assert torch.equal(convert(moved, target, None, x.shape), masked(x, bits & other))


def test_conversion_to_the_same_layout_returns_the_array(bits: Bits, x: Tensor) -> None:
    layout = Layout.from_bits(bits, BLOCK)
    packed = convert(x, None, layout)
    assert convert(packed, layout, layout) is packed


def test_the_rows_of_another_layout(bits: Bits) -> None:
    other = random(bits.shape[0], bits.shape[1], 0.6, seed=5)
    source, target = Layout.from_bits(bits, BLOCK), Layout.from_bits(other, BLOCK)
    found = source.rows_of(target)
    wanted = zip(target.row_samples, target.row_channels, strict=True)
    rows = {
        (n, c): i
        for i, (n, c) in enumerate(zip(source.row_samples, source.row_channels, strict=True))
    }
    expected = [rows.get((n, c), -1) if c < bits.shape[1] else -1 for n, c in wanted]
    assert found.tolist() == expected


def test_the_gradient_of_packing_is_unpacking(bits: Bits, x: Tensor) -> None:
    layout = Layout.from_bits(bits, BLOCK)
    x.requires_grad_()
    packed = convert(x, None, layout)
    weights = pixels(*packed.shape)
    (packed * weights).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, convert(weights, layout, None, x.shape))


def test_the_dense_layout_is_a_reshape() -> None:
    x = pixels(2, 5, *SPACE)
    assert torch.equal(convert(x, None, dense_layout(2, 5)), x.reshape(1, 10, *SPACE))


def test_concatenated_layouts() -> None:
    left, right = MASKS["half"], random(4, 20, 0.4, seed=3)
    parts = [Layout.from_bits(left, BLOCK), Layout.from_bits(right, BLOCK)]
    x, y = pixels(4, 40, *SPACE), pixels(4, 20, *SPACE) + 1
    layout = Layout.concatenated(parts)
    packed = [convert(v, None, part) for v, part in zip((x, y), parts, strict=True)]
    views = [
        run.view(array, n, n + 1)
        for n in range(4)
        for array, part in zip(packed, parts, strict=True)
        for run in part.runs
        if run.first <= n < run.last
    ]
    found = convert(torch.cat(views, 1), layout, None, (4, 60, *SPACE))
    assert torch.equal(found, torch.cat([masked(x, left), masked(y, right)], 1))


STRETCHES = {
    "one for all": ([[0] * 4, [0] * 4], [(0, 4)]),
    "each its own": ([[0, 1, 2, 3], [0, 1, 2, 3]], [(0, 1), (1, 2), (2, 3), (3, 4)]),
    "one for all, and pairs": ([[0] * 4, [0, 0, 1, 1]], [(0, 2), (2, 4)]),
    "edges of both": ([[0, 1, 1, 1], [0, 0, 0, 1]], [(0, 1), (1, 3), (3, 4)]),
}


@pytest.mark.parametrize(("kinds", "expected"), STRETCHES.values(), ids=STRETCHES)
def test_aligned_runs_lie_in_one_run_of_each_layout(
    kinds: list[list[int]], expected: list[tuple[int, int]]
) -> None:
    layouts = [
        Layout.from_bits(np.array([[k >> i & 1 for i in range(3)] for k in kind]) > 0)
        for kind in kinds
    ]
    found = aligned_runs(layouts)
    assert [(first, last) for first, last, _ in found] == expected
    for first, last, runs in found:
        assert all(run.first <= first and last <= run.last for run in runs)
        assert all(run in layout.runs for run, layout in zip(runs, layouts, strict=True))

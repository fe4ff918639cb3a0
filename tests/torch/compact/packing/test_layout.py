"""Where packed maps lie: there and back again, with zeros where nothing is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from mapdrop.torch.compact.lattice import Bits
from mapdrop.torch.compact.packing.gather import convert, pick
from mapdrop.torch.compact.packing.layout import BLOCK, Layout, aligned, whole
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
    layout = Layout.of(bits, BLOCK)
    packed = convert(x, None, layout, None)
    assert packed.shape == (1, layout.rows, *SPACE)
    assert torch.equal(convert(packed, layout, None, x.shape), masked(x, bits))


def test_rows_hold_the_maps_of_their_sample_and_channel(bits: Bits, x: Tensor) -> None:
    layout = Layout.of(bits, BLOCK)
    packed = convert(x, None, layout, None)[0]
    zero = torch.zeros(SPACE, dtype=x.dtype)
    for row, (n, c) in enumerate(zip(layout.sample, layout.channel, strict=True)):
        assert torch.equal(packed[row], zero if c == layout.channels else x[n, c])


def test_every_map_of_the_set_has_one_row(bits: Bits) -> None:
    layout = Layout.of(bits, BLOCK)
    pairs = [
        (n, c) for n, c in zip(layout.sample, layout.channel, strict=True) if c < bits.shape[1]
    ]
    assert pairs == list(zip(*np.nonzero(bits), strict=True))


def test_numbers_and_places_are_each_others_inverse(bits: Bits) -> None:
    layout = Layout.of(bits, BLOCK)
    real = layout.number >= 0
    assert np.array_equal(layout.place[layout.number[real]], np.flatnonzero(real))
    assert np.array_equal(layout.place >= 0, bits.reshape(-1))


@pytest.mark.parametrize("block", [1, BLOCK])
def test_samples_are_filled_up_to_blocks(bits: Bits, block: int) -> None:
    layout = Layout.of(bits, block)
    for run in layout.runs:
        count = int(bits[run.first].sum())
        assert len(run.ids) == min(-(-count // block) * block, bits.shape[1])


def test_the_rows_of_a_sample_begin_where_those_before_it_end(bits: Bits) -> None:
    layout = Layout.of(bits, BLOCK)
    assert layout.first[0] == 0
    assert layout.first[-1] == layout.rows
    for n, (first, last) in enumerate(itertools.pairwise(layout.first)):
        assert (layout.sample[first:last] == n).all()


def test_runs_have_equal_samples_and_are_the_longest(bits: Bits) -> None:
    runs = Layout.of(bits, BLOCK).runs
    assert [n for run in runs for n in range(run.first, run.last)] == list(range(len(bits)))
    assert all((bits[run.first : run.last] == bits[run.first]).all() for run in runs)
    later = zip(runs[:-1], runs[1:], strict=True)
    assert all((bits[a.first] != bits[b.first]).any() for a, b in later)


def test_a_run_shows_its_samples(bits: Bits, x: Tensor) -> None:
    layout = Layout.of(bits, BLOCK)
    packed = convert(x, None, layout, None)
    for run in layout.runs:
        real = run.ids[run.ids < layout.channels]
        for n in range(run.first, run.last):
            assert torch.equal(run.of(packed, n, n + 1)[0, : len(real)], x[n, real])


def test_from_one_layout_to_another_is_both_masks(bits: Bits, x: Tensor) -> None:
    other = random(bits.shape[0], bits.shape[1], 0.6, seed=5)
    source, target = Layout.of(bits, BLOCK), Layout.of(other, BLOCK)
    moved = convert(convert(x, None, source, None), source, target, None)
    assert torch.equal(convert(moved, target, None, x.shape), masked(x, bits & other))


def test_the_same_layout_is_the_same_array(bits: Bits, x: Tensor) -> None:
    layout = Layout.of(bits, BLOCK)
    packed = convert(x, None, layout, None)
    assert convert(packed, layout, layout, None) is packed


def test_finding_rows(bits: Bits) -> None:
    other = random(bits.shape[0], bits.shape[1], 0.6, seed=5)
    source, target = Layout.of(bits, BLOCK), Layout.of(other, BLOCK)
    found = source.find(target)
    wanted = zip(target.sample, target.channel, strict=True)
    rows = {(n, c): i for i, (n, c) in enumerate(zip(source.sample, source.channel, strict=True))}
    expected = [rows.get((n, c), -1) if c < bits.shape[1] else -1 for n, c in wanted]
    assert found.tolist() == expected


def test_the_gradient_of_packing_is_unpacking(bits: Bits, x: Tensor) -> None:
    layout = Layout.of(bits, BLOCK)
    x.requires_grad_()
    packed = convert(x, None, layout, None)
    weights = pixels(*packed.shape)
    (packed * weights).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, convert(weights, layout, None, x.shape))


def test_the_whole_array_is_packed_as_it_lies() -> None:
    x = pixels(2, 5, *SPACE)
    assert torch.equal(convert(x, None, whole(2, 5), None), x.reshape(1, 10, *SPACE))


def test_layouts_side_by_side() -> None:
    left, right = MASKS["half"], random(4, 20, 0.4, seed=3)
    parts = [Layout.of(left, BLOCK), Layout.of(right, BLOCK)]
    x, y = pixels(4, 40, *SPACE), pixels(4, 20, *SPACE) + 1
    layout = Layout.joined(parts)
    packed = [convert(v, None, part, None) for v, part in zip((x, y), parts, strict=True)]
    views = [
        run.of(array, n, n + 1)
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
def test_stretches_lie_in_one_run_of_each(
    kinds: list[list[int]], expected: list[tuple[int, int]]
) -> None:
    layouts = [
        Layout.of(np.array([[k >> i & 1 for i in range(3)] for k in kind]) > 0) for kind in kinds
    ]
    found = aligned(layouts)
    assert [(first, last) for first, last, _ in found] == expected
    for first, last, runs in found:
        assert all(run.first <= first and last <= run.last for run in runs)
        assert all(run in layout.runs for run, layout in zip(runs, layouts, strict=True))


def inverse(rows: list[int], n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    back = np.full(n, -1, np.int64)
    for at, row in enumerate(rows):
        if row >= 0:
            back[row] = at
    return back


PICKS = {
    "turned": [2, 1, 0, 3],
    "some": [3, 0],
    "with zeros": [-1, 2, -1, 0, -1],
    "zeros only": [-1, -1],
    "none": [],
}


@pytest.mark.parametrize("rows", PICKS.values(), ids=PICKS)
def test_picked_rows(rows: list[int]) -> None:
    x = pixels(1, 4, 2)
    found = pick(x, np.array(rows, np.int64), inverse(rows, 4))
    expected = [x[:, [r]] if r >= 0 else torch.zeros(1, 1, 2, dtype=x.dtype) for r in rows]
    assert torch.equal(found, torch.cat([x[:, :0], *expected], 1))


@pytest.mark.parametrize(
    "rows", [r for r in PICKS.values() if r], ids=[k for k in PICKS if k != "none"]
)
def test_the_first_and_second_derivative_of_picking(rows: list[int]) -> None:
    x = pixels(1, 4, 2).requires_grad_()
    numbers, back = np.array(rows, np.int64), inverse(rows, 4)
    assert torch.autograd.gradcheck(lambda v: pick(v, numbers, back), x)
    assert torch.autograd.gradgradcheck(lambda v: pick(v, numbers, back), x)

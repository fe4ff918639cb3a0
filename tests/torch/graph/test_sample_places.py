"""Each rule of samples finds the places that there are, as changed entries show."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mapdrop.torch.graph.branches import reads_of
from mapdrop.torch.graph.registry import record_of
from mapdrop.torch.graph.sample_axis import SampleAxis
from tests.torch.graph.calls import Array, Case
from tests.torch.graph.test_sample_rules import CASES

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

# Samples are looked for along the first axis alone: what layers mix is along the others.
FIRST_AXIS_ALONE = (
    *("conv1d", "conv2d", "batch_norm", "instance_norm", "prelu", "local_response_norm"),
    *("interpolate", "dropout2d"),
    *(f"{kind}_pool{d}d" for kind in ("max", "avg") for d in (1, 2, 3)),
    *(f"adaptive_{kind}_pool{d}d" for kind in ("max", "avg") for d in (1, 2, 3)),
)
# Places that no rule looks for, each (call, axis of the result).
BEYOND = {
    # A layer for another rank, for which the first axis is that of the channels.
    *((f"F.{kind}_pool2d(line, 3, 1, 1)", 0) for kind in ("max", "avg")),
    *((f"F.adaptive_{kind}_pool2d(line, (6, 4))", 0) for kind in ("max", "avg")),
    *(("F.max_pool3d(x, 3, 1, 1)", 0), ("F.max_pool1d(row, 3, 1, 1)", 0)),
    ("F.avg_pool1d(row, 3, 1, 1)", 0),
    # Running statistics, which a call with several batches would change.
    ("F.instance_norm(x, mean, variance)", 0),
    ("F.instance_norm(x, mean, variance, use_input_stats=False)", 0),
    ("torch.instance_norm(x, scale, shift, None, None, True, 0.1, 1e-05, True)", 0),
    ("torch.instance_norm(x, None, None, mean, variance, False, 0.1, 1e-05, True)", 0),
    ("torch.instance_norm(row, None, None, None, None, True, 0.1, 1e-05, True)", 0),
    # The same values as other bits; an array that is empty; an axis of one array twice.
    *(("Tensor.view(square, torch.int64)", axis) for axis in range(4)),
    *(("torch.cat([nothing, square], 1)", axis) for axis in range(4)),
    # All parts of an array together; arrays that no operation made; a part of complex numbers.
    *(("torch.cat(torch.chunk(x, 2, 1), 1)", axis) for axis in range(4)),
    *(("torch.cat(torch.chunk(square, 2, 2), 2)", axis) for axis in range(4)),
    *(("operator.getitem((x, y), 1)", axis) for axis in range(4)),
    *(("getattr(edges, 'real')", axis) for axis in (0, 1)),
    ("torch.einsum('aab->ab', g)", 0),
    *(("torch.einsum('ab,ab->ab', edges, edges)", axis) for axis in (0, 1)),
    *(("torch.einsum('...b->...b', square)", axis) for axis in range(4)),
    # Indices by a list; a table that the call changes, or by another function; a vector.
    *(("operator.getitem(square, [0, 2])", axis) for axis in (1, 2, 3)),
    *(("F.embedding(numbers, p9x3, scale_grad_by_freq=True)", axis) for axis in (0, 1)),
    *(("F.embedding(numbers, p9x3, None, 2.0)", axis) for axis in (0, 1)),
    *(("F.embedding(numbers, p9x3, None, None, 2.0, True)", axis) for axis in (0, 1)),
    *(("torch.embedding(p9x3, numbers)", axis) for axis in (0, 1)),
    ("F.prelu(vector, p1)", 0),
    # The second of two matrices, and rows or columns in attention.
    *(("torch.matmul(x, right)", 3), ("torch.bmm(left, rights)", 2)),
    *(("torch.matmul(rows, x)", 3), ("torch.matmul(p5x5, x)", 3)),
    ("torch.matmul(square, other=root)", 3),
    ("torch.matmul(input=square, other=root)", 3),
    *(("torch.matmul(square, vector)", axis) for axis in range(3)),
    ("F.linear(row, p6)", 0),
    *(("F.scaled_dot_product_attention(x, y, z)", axis) for axis in (2, 3)),
    *(("F.scaled_dot_product_attention(square, k, v, enable_gqa=True)", a) for a in (1, 2, 3)),
    ("F.scaled_dot_product_attention(square, root, square, mask)", 2),
    *((str(case), 0) for case in CASES if "p4, True, None, False, a)" in str(case)),
    *((str(case), axis) for case in CASES if "keys" in str(case) for axis in (0, 1)),
    # The larger of two arrays, by the function that reduces one.
    *(("torch.max(square, root)", axis) for axis in range(4)),
}


def first_of(value: Any) -> Any:
    return value[0] if isinstance(value, (tuple, list)) else value


def follows(case: Case) -> dict[Array, list[set[int]]]:
    """Return, for each axis of each input, the result's axes whose entries follow from its own."""
    want = first_of(case.result())
    return {
        array: [_axes(case, array, axis, want) for axis in range(len(array.shape))]
        for array in case.inputs
    }


def _axes(case: Case, array: Array, axis: int, want: Tensor) -> set[int]:
    found = {a for a, n in enumerate(want.shape) if n == array.shape[axis]}
    for j in range(array.shape[axis] if found else 0):
        values = case.inputs[array].clone()
        entry = values.select(axis, j)
        entry.copy_(~entry if entry.dtype == torch.bool else entry.flip(0) + 1)
        have = first_of(case.result({array: values}))
        differs = ~((have == want) | (have.isnan() & want.isnan()))
        others = (differs.movedim(a, 0).clone() for a in found)
        found -= {a for a, other in zip(set(found), others, strict=True) if _is_elsewhere(other, j)}
    return found


def _is_elsewhere(differs: Tensor, j: int) -> bool:
    differs[j] = False
    return bool(differs.any())


def check(case: Case, at: int, size: int, truth: dict[Array, list[set[int]]]) -> None:
    """Raise AssertionError unless the rule has the places of an axis of the result."""
    reads = reads_of(case.node, SampleAxis(at, size))
    there = {
        array: [i for i, axes in enumerate(found) if at in axes] for array, found in truth.items()
    }
    there = {array: axes for array, axes in there.items() if axes}
    if reads is None:
        ruled = getattr(record_of(case.node), "samples", None) is not None
        beyond = at > 0 and case.node.operation in FIRST_AXIS_ALONE
        looked_for = ruled and not beyond and (str(case), at) not in BEYOND
        assert not looked_for or not any(not array.is_parameter for array in there)
        return
    assert (str(case), at) not in BEYOND
    for node, place in reads.items():
        assert not node.is_array or node.shape[place.axis] == place.size
        if node.target is None and place.before == place.after == 1:
            assert place.axis in there[case.array_of(node)]
    missed = there.keys() - {case.array_of(node) for node in reads}
    assert not missed or case.node.operation == "type_as"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule_finds_the_places_that_there_are(case: Case) -> None:
    result = first_of(case.node.value)
    if isinstance(result, Tensor):
        truth = follows(case)
        for at, size in enumerate(result.shape):
            if size > 1:
                check(case, at, size, truth)

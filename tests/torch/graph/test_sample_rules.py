"""Each rule of samples alone: some samples of the inputs give the same samples of the result."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from mapdrop.torch.compact.calls import call_for_samples
from mapdrop.torch.compact.packing.storage import StepState
from mapdrop.torch.graph.branches import reads_of
from mapdrop.torch.graph.graph import Node, caller
from mapdrop.torch.graph.registry import OPERATIONS, record_of
from mapdrop.torch.graph.sample_axis import SampleAxis, Samples
from mapdrop.torch.graph.sample_drops import SampleDrop
from tests.torch.graph.calls import Array, Case, N
from tests.torch.graph.test_registry import (
    ARGUMENTS,
    ATTENTION,
    EDGES,
    FACES,
    LINES,
    MIXED,
    NUMBERS,
    C,
    R,
    S,
    X,
    array,
    dense,
    parameter,
)

F: Any = torch.nn.functional
KEYS, SHORT = Array("keys", (2 * N, 5, 2)), Array("short_keys", (2 * N, 3, 2))
# All arguments by position, the last two the keys and the values of another array.
STATIC = (*ATTENTION, True, None, False, None, False, None, None, None, KEYS, KEYS)
WINDOWS = array("windows", 3, N, 5, C)
MORE: list[Case] = [
    dense(torch.matmul, X, parameter(4, 3)),
    dense(torch.matmul, array("rows", N, 5), X),
    dense(torch.matmul, parameter(5, 5), X),
    dense(torch.matmul, S, S),
    dense(F.linear, S, parameter(N, N)),
    dense(F.linear, WINDOWS, parameter(2, C)),
    dense(torch.einsum, "abcd,acde->abe", S, array("fifth", N, N, N, 2)),
    dense(torch.einsum, "ab,bc->ac", array("e", N, N), array("f", N, N)),
    dense(torch.einsum, "aab->ab", array("g", N, N, N)),
    dense(torch.einsum, "abcd, acde -> abe", [S, array("fifth", N, N, N, 2)]),
    dense(torch.einsum, "ab,ab->ab", EDGES, EDGES),
    dense(torch.einsum, "ab,bc", EDGES, EDGES),
    dense(torch.einsum, "...b->...b", S),
    dense(getattr, EDGES, "T"),
    dense(getattr, EDGES, "real"),
    dense(torch.matmul, S, other=R),
    dense(torch.matmul, input=S, other=R),
    dense(torch.bmm, FACES, mat2=FACES),
    dense(torch.matmul, S, array("vector", N)),
    dense(F.pixel_shuffle, array("image", 8, 3, N), 2),
    dense(F.embedding, NUMBERS, parameter(9, 3), None, None, 2.0, False),
    dense(F.embedding, NUMBERS, parameter(9, 3), None, None, 2.0, True),
    dense(F.embedding, NUMBERS, parameter(9, 3), scale_grad_by_freq=True),
    dense(F.embedding, NUMBERS, parameter(9, 3), None, 2.0),
    dense(torch.embedding, parameter(9, 3), NUMBERS),
    dense(F.prelu, array("vector", N), parameter(1)),
    dense(F.multi_head_attention_forward, *STATIC),
    dense(F.multi_head_attention_forward, *STATIC[:-2], SHORT, None),
    dense(F.multi_head_attention_forward, *STATIC[:-2], None, SHORT),
    dense(F.scaled_dot_product_attention, S, R, S, array("mask", N, 1, N, N)),
    dense(F.scaled_dot_product_attention, S, R, S, parameter(N, N)),
    dense(
        F.scaled_dot_product_attention,
        S,
        array("k", N, 2, N, N),
        array("v", N, 2, N, N),
        enable_gqa=True,
    ),
    dense(F.multi_head_attention_forward, *ATTENTION, True, array("padding", N, 3), False),
    dense(F.multi_head_attention_forward, *ATTENTION, True, None, False, array("a", 2 * N, 3, 3)),
    dense(torch.nn.functional.layer_norm, S, (N, N)),
    dense(torch.softmax, S, 2),
    dense("softmax", S, dim=-4),
    dense(F.normalize, S, dim=2),
    dense(F.normalize, S, 2.0, 2),
    dense(torch.roll, S, 1, 0),
    dense(torch.roll, S, 1),
    dense("flip", S, 0, 2),
    dense(torch.cumsum, S, 0),
    dense(torch.permute, S, (2, 0, 3, 1)),
    dense("permute", WINDOWS, 1, 0, 3, 2),
    dense(torch.transpose, S, 0, 1),
    dense(torch.reshape, WINDOWS, (3 * N, 5 * C)),
    dense(torch.reshape, WINDOWS, (3, N * 5, C)),
    dense("view", S, N * N, N * N),
    dense("unsqueeze", S, 0),
    dense("flatten", S, 0, 2),
    dense("unflatten", array("folded", 3 * N, 2), 0, (3, N)),
    dense("expand", array("single", N, 1, 3), N, 5, 3),
    dense("expand", parameter(1, 3), N, 3),
    dense("expand", parameter(3), N, 3),
    dense("repeat", array("few", N, 2), 2, 1),
    dense("repeat", array("few", N, 2), (2, 1)),
    dense("repeat", array("few", N, 2), 3, 1, 2),
    dense(torch.select, S, 0, 1),
    dense("select", S, -1, 0),
    dense(operator.getitem, S, 0),
    dense(operator.getitem, S, (slice(None), 0)),
    dense(operator.getitem, S, (None, slice(None), Ellipsis, 1)),
    dense(operator.getitem, S, (slice(1, None), slice(None))),
    dense(operator.getitem, S, (Ellipsis, None, slice(None), 2)),
    dense(torch.unbind, S),
    dense(torch.stack, [S, R]),
    dense(torch.stack, [S, R], 2),
    dense(torch.cat, [S, R], 2),
    dense(torch.chunk, S, 2),
    dense(torch.split, S, 2, 2),
    dense(torch.max, S, 2),
    dense(torch.max, S, R),
    dense(torch.max, S, 0, True),
    dense(torch.var, S, (1, 2)),
    dense(torch.var, S, False),
    dense(torch.std, S, 0, keepdim=True),
    dense(torch.linalg.vector_norm, S, 2, (1, 2), True),
    dense(torch.linalg.vector_norm, S, 2, 1),
    dense(torch.mean, S, (0, 1)),
    dense(F.pad, S, (0, 0, 1, 1)),
    dense(F.pad, S, (0, 0, 0, 0, 0, 0, 1, 1)),
    dense(F.glu, S),
    dense(torch.add, S, array("each", N, 1, 1, 1)),
    dense(torch.add, array("low", N, N), S),
    dense(torch.mul, parameter(N, 1), S),
]
CASES = [case for case in (*LINES, *ARGUMENTS, *MIXED, *MORE) if not case.draws]
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


def places(shape: tuple[int, ...]) -> Iterator[SampleAxis]:
    """Yield every place where a result may have several samples."""
    for axis, size in enumerate(shape):
        for samples in (n for n in range(2, size + 1) if size % n == 0):
            others = size // samples
            for before in (n for n in range(1, others + 1) if others % n == 0):
                yield SampleAxis(axis, samples, before, others // before)


def value_of(node: Node, values: dict[Node, Any]) -> Any:
    """Return a node's value, and note it."""
    if node not in values:
        for source in node.inputs:
            value_of(source, values)
        values[node] = caller(node)(values)
    return values[node]


def fits(value: Any, at: SampleAxis) -> bool:
    """Return whether an array, or each of a tuple, has so many samples there."""
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return all(part.shape[at.axis] == at.size for part in parts if part is not None)


def taken(value: Any, at: SampleAxis | None, numbers: Tensor) -> Any:
    """Return some samples of an array, or of those in a tuple."""
    if at is None or value is None:
        return value
    if isinstance(value, (tuple, list)):
        return tuple(taken(part, at, numbers) for part in value)
    return (
        value.unflatten(at.axis, (at.before, at.samples, at.after))
        .index_select(at.axis + 1, numbers)
        .flatten(at.axis, at.axis + 2)
    )


def kept(at: SampleAxis, numbers: Tensor) -> StepState:
    """Return a step in which drop number 0 keeps some samples."""
    mask = torch.zeros(at.samples, dtype=torch.float64)
    mask[numbers] = 1.0
    node, state = Node(0), StepState(at.samples, 1)
    state.kept.draw([SampleDrop(0, node, node, at, (node,), None, 0.5, ())], [[mask]])
    return state


def cases_of(case: Case) -> Iterator[tuple[SampleAxis, Any]]:
    value = case.node.value
    first = value[0] if isinstance(value, (tuple, list)) else value
    if isinstance(first, Tensor):
        for at in places(tuple(first.shape)):
            yield at, reads_of(case.node, at)


def close(have: Any, want: Any) -> None:
    torch.testing.assert_close(have, want, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_some_samples_are_the_same_alone(case: Case) -> None:
    values: dict[Node, Any] = dict(zip(case.graph.inputs, case.inputs.values(), strict=True))
    every = value_of(case.node, values)
    for at, reads in cases_of(case):
        for numbers in ([0], [1], list(range(0, at.samples, 2)), list(range(at.samples))):
            index = torch.tensor(numbers)
            if reads is None or not all(fits(values[n], where) for n, where in reads.items()):
                continue
            env = {n: taken(values[n], reads.get(n), index) for n in case.node.inputs}
            call = call_for_samples(case.node, Samples(frozenset({0}), at), {n: n for n in env})
            have = call(env, kept(at, index))
            parts = isinstance(every, (tuple, list))
            # Another part of a tuple may have its samples elsewhere.
            of_first = case.node.operation == "multi_head_attention_forward"
            pairs = zip(have, every, strict=True) if parts else [(have, every)]
            for one, whole in list(pairs)[: 1 if of_first else None]:
                close(one, taken(whole, at, index))


def test_every_rule_finds_some_place() -> None:
    found = {case.node.operation for case in CASES if any(r is not None for _, r in cases_of(case))}
    drawing = {"dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "replicated"}
    ruled = {name for name, record in OPERATIONS.items() if record.samples is not None}
    assert ruled - found - drawing == set()
    assert found <= ruled


@pytest.mark.parametrize("case", CASES, ids=str)
def test_samples_of_zeros_stay_zero_where_the_record_says_so(case: Case) -> None:
    record = record_of(case.node)
    if record is None or not record.keeps_zeros:
        return
    values: dict[Node, Any] = dict(zip(case.graph.inputs, case.inputs.values(), strict=True))
    value_of(case.node, values)
    for at, reads in cases_of(case):
        for source in reads or ():
            if not isinstance(values[source], Tensor):
                continue
            changed = values[source].clone()
            where = reads[source]
            changed.unflatten(where.axis, (where.before, where.samples, where.after)).select(
                where.axis + 1, 1
            ).zero_()
            result = caller(case.node)({**values, source: changed})
            assert not taken(result, at, torch.tensor([1])).to(torch.bool).any()


def test_batchnorm_in_training_has_no_place() -> None:
    case = next(c for c in ARGUMENTS if str(c).startswith("F.batch_norm") and "True" in str(c))
    assert all(reads is None for _, reads in cases_of(case))

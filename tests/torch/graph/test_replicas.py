"""An operation that draws is called for each replica by itself, from its own random numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.registry import may_draw, record_of
from mapdrop.torch.graph.replicas import RandomStates, Replicated, ReplicatedDrop
from mapdrop.torch.graph.sample_axis import SampleAxis

SEEDS = (3, 1, 4)
X = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def states() -> RandomStates:
    made = RandomStates()
    made.seed(SEEDS)
    return made


def call(target: Any, *args: Any) -> Node:
    """Return the call of one replica, of two rows."""
    source = Node(0, value=torch.ones(2, *X.shape[1:], dtype=X.dtype))
    return Node(1, target, (source, *args), {}, value=source.value)


def alone(target: Any, *args: Any) -> list[Tensor]:
    """Return what two calls in a row return for each replica by itself."""
    found = []
    for seed, rows in zip(SEEDS, X.split(2), strict=True):
        torch.manual_seed(seed)
        found.append(torch.stack([target(rows, *args), target(rows, *args)]))
    return found


@pytest.mark.parametrize("target", [F.dropout, F.dropout2d, F.alpha_dropout])
def test_each_replica_goes_on_with_its_own_numbers(target: Any) -> None:
    both = Replicated(call(target, 0.5, True), states(), 0, [0], [False])
    found = torch.stack([both(X), both(X)])
    want = torch.cat(alone(target, 0.5, True), 1)
    assert torch.equal(found, want)
    assert not torch.equal(found[0], found[1])


def test_results_without_rows_are_a_tuple() -> None:
    numbers = Replicated(Node(0, torch.rand, (2,), {}, value=torch.ones(2)), states(), None, [], [])
    found = numbers()
    assert isinstance(found, tuple)
    for seed, value in zip(SEEDS, found, strict=True):
        torch.manual_seed(seed)
        assert torch.equal(value, torch.rand(2))


def test_rows_keep_their_place_and_the_memory_layout() -> None:
    one = Node(0, value=torch.ones(4, 2, 3, 3, dtype=X.dtype))
    node = Node(1, F.dropout, (one, 0.5, True), {}, value=one.value)
    x = X.transpose(0, 1)
    found = Replicated(node, states(), 1, [1], [False])(x)
    assert found.stride() == x.stride()
    for seed, rows, part in zip(SEEDS, x.split(2, 1), found.split(2, 1), strict=True):
        torch.manual_seed(seed)
        assert torch.equal(F.dropout(rows, 0.5, True), part)


def replicated(target: Any, *args: Any) -> Node:
    both = Replicated(call(target, *args), states(), 0, [0], [False])
    return Node(1, both, (Node(0, value=X),), {}, value=X)


def test_a_drop_of_maps_is_found_and_drawn_for_each_replica() -> None:
    node = replicated(F.dropout2d, 0.5, True)
    record = record_of(node)
    assert record is not None
    drop = record.rule(node, record, lambda node: (4, 1))
    assert isinstance(drop, ReplicatedDrop)
    drawn = drop.draw()
    want = torch.cat(alone(F.dropout2d, 0.5, True), 1)[0]
    assert (drawn.bits == (want != 0).any(3).any(2).numpy()).all()
    assert torch.equal(drop.apply(X, drawn), want)
    assert drop.kept(7).density == 0.5
    assert may_draw(node, False)


def test_our_own_drop_is_found_and_reads_the_rows_at_their_place() -> None:
    x, seed = Node(0, value=X), Node(1, value=torch.tensor([3, 1]))
    source = Node(0, value=X[:2])
    given = (source, seed, None, "b c h w -> b c", 0.5, "")
    one = Node(2, torch.ops.mapdrop.drop, given, {}, value=source.value)
    both = Replicated(one, states(), 0, [0, None], [False, True])
    node = Node(2, both, (x, seed), {}, value=X)
    record, at = record_of(node), SampleAxis(0, 6)
    assert record is not None
    assert record.samples is not None
    assert record.samples(node, at) == {x: at}
    drop = record.rule(node, record, lambda node: (4, 1))
    assert isinstance(drop, ReplicatedDrop)
    assert drop.given == (seed,)
    assert not may_draw(node, False)  # Its seed was drawn before.


@pytest.mark.parametrize("target", [F.dropout, F.alpha_dropout])
def test_a_drop_of_values_is_none_of_maps(target: Any) -> None:
    node = replicated(target, 0.5, True)
    record = record_of(node)
    assert record is not None
    assert record.rule(node, record, lambda node: (4, 1)) is None
    assert record.samples is not None
    assert record.samples(node, SampleAxis(0, 6)) is None
    assert may_draw(node, False)

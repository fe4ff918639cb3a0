"""Samples of known number: the same results and gradients as of counted ones, for every mask."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from mapdrop.torch.compact.packing.kept import KeptSamples
from mapdrop.torch.compact.packing.static_kept import StaticKeptSamples
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.sample_axis import SampleAxis, Samples
from mapdrop.torch.graph.sample_drops import SampleDrop

SAMPLES = 4
FACTORS = torch.tensor([2.0, 3.0, 5.0, 7.0])
BITS = [torch.tensor(bits) for bits in itertools.product([0.0, 1.0], repeat=SAMPLES)]
MASKS = [bits * FACTORS for bits in BITS] + [bits * 2 for bits in BITS]
AXES = {
    "first": (SampleAxis(0, SAMPLES), (SAMPLES, 3)),
    "second": (SampleAxis(1, SAMPLES), (2, SAMPLES)),
    "folded": (SampleAxis(0, SAMPLES, 2, 3), (6 * SAMPLES,)),
}


def kept_by(most: int) -> list[Tensor]:
    """Return the masks that keep so many samples, or one less."""
    return [mask for mask in MASKS if most - 1 <= int((mask != 0).sum()) <= most]


def drop(number: int, most: int) -> SampleDrop:
    at, node = SampleAxis(0, SAMPLES), Node(number)
    return SampleDrop(number, node, node, at, (node,), None, most / SAMPLES, (), most)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(("outer", "inner"), [(3, 2), (2, 3), (3, 3), (1, 2), (2, 1)])
def test_one_branch_in_another(axis: str, outer: int, inner: int) -> None:
    at, shape = AXES[axis]
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(s, generator=generator, dtype=torch.float64) for s in (shape, ()))
    drops = [drop(0, outer), drop(1, inner)]
    some, both = (Samples(frozenset(numbers), at) for numbers in ({0}, {0, 1}))

    def run(kept: KeptSamples, masks: list[Tensor]) -> tuple[Tensor, ...]:
        kept.draw(drops, [[mask] for mask in masks])
        given, inside = x.clone().requires_grad_(), weight.clone().requires_grad_()
        first = (inside * kept.move(given, None, some)).sin()
        second = kept.move(first, some, both).cos() + kept.move(given, None, both)
        first = kept.add(first, some, scaled(kept, second, 1, both), both, None)
        y = kept.add(given, None, scaled(kept, first, 0, some), some, None)
        return y.detach(), *torch.autograd.grad((y * y).sum(), (given, inside))

    def scaled(kept: KeptSamples, y: Tensor, number: int, samples: Samples) -> Tensor:
        """Multiply by the factors in the first axis, wherever the samples are."""
        first = y.unflatten(at.axis, (at.before, -1, at.after)).movedim(at.axis + 1, 0)
        found = kept.scaled(first, drops[number], samples.drops).movedim(0, at.axis + 1)
        return found.flatten(at.axis, at.axis + 2)

    for masks in itertools.product(kept_by(outer), kept_by(inner)):
        found = run(StaticKeptSamples(), list(masks))
        for want, have in zip(run(KeptSamples(), list(masks)), found, strict=True):
            torch.testing.assert_close(have, want)
        dropped = (masks[0] == 0).nonzero().flatten()
        assert torch.equal(at.take(found[0], dropped), at.take(x, dropped))
        assert not torch.equal(found[0], x) or not masks[0].any()


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_number_of_samples_is_the_most(most: int) -> None:
    at = SampleAxis(0, SAMPLES)
    x = torch.arange(1.0, SAMPLES + 1)
    for mask in kept_by(most):
        kept = StaticKeptSamples()
        kept.draw([drop(0, most)], [[mask]])
        taken = kept.move(x, None, Samples(frozenset({0}), at))
        assert kept.count(frozenset({0})) == len(taken) == most
        own = x[mask != 0]
        assert torch.equal(taken[: len(own)], own)
        if len(own):
            assert torch.equal(taken[len(own) :], own[:1].expand(most - len(own)))
        factors = kept.scaled(torch.ones(most), drop(0, most), frozenset({0}))
        assert factors.tolist() == [*mask[mask != 0].tolist(), *[0.0] * (most - len(own))]


def test_masks_of_several_kinds_are_read_together() -> None:
    """Of other batch sizes, types and numbers of kept samples, and one for the whole batch."""
    masks = [
        torch.tensor([0.0, 2.0, 2.0]),
        torch.zeros(4, dtype=torch.bfloat16),
        torch.tensor([3.0, 0.0, 5.0, 0.0, 0.0], dtype=torch.float64),
        torch.tensor([[1.5]]),
        torch.tensor([0.0]),
    ]
    sizes = [3, 4, 5, 2, 3]
    kept = KeptSamples()
    drops = [
        SampleDrop(n, Node(n), Node(n), SampleAxis(0, size), (Node(n),), None, 0.5, ())
        for n, size in enumerate(sizes)
    ]
    given = [[mask] for mask in masks]
    kept.draw(drops[:3], given[:3])
    kept.draw(drops[3:], given[3:])
    expected = [[1, 2], [], [0, 2], [0, 1], []]
    factors = [[2.0, 2.0], [], [3.0, 5.0], [1.5, 1.5], []]
    for own, numbers, by in zip(drops, expected, factors, strict=True):
        of = frozenset({own.number})
        samples = Samples(of, own.at)
        assert kept.count(of) == len(numbers)
        assert kept.numbers(of).tolist() == numbers
        assert kept.scaled(torch.ones(len(numbers)), own, of).tolist() == by
        x = torch.arange(float(own.at.samples))
        assert kept.move(x, None, samples).tolist() == numbers
        y = kept.add(torch.zeros_like(x), None, torch.ones(len(numbers)), samples, own)
        assert y[numbers].tolist() == by
        assert y.count_nonzero() == len(numbers)

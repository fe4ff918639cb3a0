"""Profile the operations of a schedule: time what skipping saves in each of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mapdrop.torch.compact.choose import Decision
from mapdrop.torch.compact.packed_conv.convolve import convolve
from mapdrop.torch.compact.packed_conv.operation import PackedConv
from mapdrop.torch.compact.packing.layout import Layout
from mapdrop.torch.compact.schedule import Schedule
from mapdrop.torch.compact.timing import shortest, step, undisturbed
from mapdrop.torch.graph.settings import Linear


def profile(schedule: Schedule, decision: Decision) -> tuple[float, float] | None:
    """Return the seconds of one operation's training step, dense and with the last call's masks.

    None if nothing is skipped, or before the first call. Values are random.
    """
    state = schedule.last
    if state is None or not decision.skips:
        return None
    source = state.layout(decision.reads) if decision.skip_reads else None
    target = state.layout(decision.makes) if decision.skip_makes else None
    settings = decision.facts.settings
    x, weight = _dense_input(decision), _weight(decision)
    packed, conv = _packed_input(x, source), PackedConv(settings, source, target)
    with undisturbed():
        dense, chosen = shortest(
            lambda: step(lambda a, w: settings.forward(a, w, None), x, weight),
            lambda: step(lambda a, w: convolve(a, w, None, conv), packed, weight),
        )
    return dense, chosen


def _dense_input(decision: Decision) -> Tensor:
    """Return random values for an input, padded as the operation pads it."""
    op, like = decision.facts, decision.facts.sources[0].value
    x = _random(like.shape, like)
    if isinstance(op.settings, Linear):
        return x.view(x.shape[0], op.inputs, *op.kernel)
    return x if op.pad is None else torch.nn.functional.pad(x, op.pad)


def _weight(decision: Decision) -> Tensor:
    op = decision.facts
    order = op.settings.weight_order(op.outputs, op.inputs)
    return _random(order + op.kernel, op.sources[0].value)


def _packed_input(x: Tensor, layout: Layout | None) -> Tensor:
    """Return random values for the rows of a layout; x itself if it is dense."""
    return x if layout is None else _random((1, layout.rows, *x.shape[2:]), x)


def _random(shape: Sequence[int], like: Tensor) -> Tensor:
    """Draw from a generator of its own, so that the model's random numbers stay what they are."""
    generator = torch.Generator(like.device).manual_seed(0)
    return torch.randn(tuple(shape), dtype=like.dtype, device=like.device, generator=generator)

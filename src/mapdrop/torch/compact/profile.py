"""What skipping saves in each operation of a planned model, by the clock."""

from __future__ import annotations

import torch
from torch import Tensor

from mapdrop.torch.compact.cost_model import Operation
from mapdrop.torch.compact.lowering import Schedule
from mapdrop.torch.compact.packed_conv.runs import Dense, Job, mix
from mapdrop.torch.compact.packing.layout import Layout
from mapdrop.torch.compact.timing import shortest, step, undisturbed


def measure(schedule: Schedule, operation: Operation) -> tuple[float, float] | None:
    """Seconds of a training step of it alone: whole, and as planned with the last call's masks.

    None where nothing is skipped, or before the first call. Values are random.
    """
    scope = schedule.last
    if scope is None or not (operation.skip_reads or operation.skip_makes):
        return None
    source, target = (
        scope.layout(maps) if skipped else None
        for maps, skipped in (
            (operation.reads, operation.skip_reads),
            (operation.makes, operation.skip_makes),
        )
    )
    settings = operation.rule.settings
    x, weight = _whole(operation), _weight(operation)
    given, job = _packed(x, source), Job(settings, source, target)
    with undisturbed():
        whole, planned = shortest(
            lambda: step(lambda a, w: settings.forward(a, w, None), x, weight),
            lambda: step(lambda a, w: mix(a, w, None, job), given, weight),
        )
    return whole, planned


def _whole(operation: Operation) -> Tensor:
    """An input, as it is after what is done to it map by map."""
    rule, like = operation.rule, operation.rule.reads[0].meta["val"]
    x = _random(like.shape, like)
    if isinstance(rule.settings, Dense):
        return x.view(x.shape[0], rule.size.inputs, rule.size.kernel)
    return x if rule.before is None else rule.before(x)


def _weight(operation: Operation) -> Tensor:
    rule, like = operation.rule, operation.rule.reads[0].meta["val"]
    shape = rule.settings.order(rule.size.outputs, rule.size.inputs) + rule.kernel
    return _random(shape, like)


def _packed(x: Tensor, layout: Layout | None) -> Tensor:
    """Random values in the rows of a layout."""
    if layout is None:
        return x
    return _random((1, layout.rows, *x.shape[2:]), x)


def _random(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """By a generator of its own: the model's random numbers stay what they would have been."""
    own = torch.Generator(like.device).manual_seed(0)
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=own)

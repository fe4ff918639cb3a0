"""Checks: each judges the evidence by one question, and says what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

from mapdrop.torch.audit.evidence import Evidence, Layer, MeasuredDrop
from mapdrop.torch.audit.places import UNKNOWN
from mapdrop.torch.audit.report import Finding

Verdict = tuple[str, str, str, str]
"""Where, which drop, what is the matter, and what to do."""
Check = Callable[[Evidence], Iterator[Verdict]]

_OF_MAPS = re.compile(r"(spatial)?dropout(?P<axes>[123])d|feature(_alpha_)?(alpha)?_?dropout", re.I)
"""Layers and functions that drop maps."""


def _at(drop: MeasuredDrop, problem: str, remedy: str) -> Verdict:
    return drop.place.where, drop.place.name, problem, remedy


def _never_called(evidence: Evidence) -> Iterator[Verdict]:
    for layer in evidence.layers:
        if not layer.is_used and layer.p != 0 and not _lends_its_rate(layer, evidence):
            yield (
                layer.where, layer.name,
                f"{layer.kind}(p={_rate(layer.p)}) is part of the model, and a training step does "
                "not call it.",
                "Call it in forward, or remove it.",
            )  # fmt: skip


def _lends_its_rate(layer: Layer, evidence: Evidence) -> bool:
    """Return whether a function drops beside it by its p, as attention of transformers does."""
    functional = [drop.place for drop in evidence.drops if drop.place.layer is None]
    return any(
        at.p == layer.p and f"{at.name}.".startswith(f"{layer.parent}.") for at in functional
    )


def _all_dropped(evidence: Evidence) -> Iterator[Verdict]:
    for layer in evidence.layers:
        if layer.p == 1 and layer.calls:
            yield (
                layer.where, layer.name,
                f"{layer.kind} drops everything: p is the share to drop, not to keep.",
                "Give it 1 minus the share to keep.",
            )  # fmt: skip


def _in_eval(evidence: Evidence) -> Iterator[Verdict]:
    for drop in evidence.in_eval:
        if drop.place.layer is None:
            remedy = "Pass training=self.training, or call a layer."
        else:
            remedy = "Let it return its input unless self.training, and see that eval() reaches it."
        yield _at(drop, f"{drop.place.kind} drops in eval mode, too.", remedy)


def _rank(evidence: Evidence) -> Iterator[Verdict]:
    for drop in evidence.drops:
        wrong = _wrong_rank(drop)
        if wrong:
            yield _at(drop, *wrong)


def _wrong_rank(drop: MeasuredDrop) -> tuple[str, str] | None:
    match, given = _OF_MAPS.fullmatch(drop.place.kind), drop.seen.given
    if match is None or not match["axes"] or given is None or given == int(match["axes"]) + 2:
        return None
    axes = int(match["axes"])
    wanted = ("(b, c, t)", "(b, c, h, w)", "(b, c, d, h, w)")[axes - 1]
    return (
        f"{drop.place.kind} takes {wanted}, and is given {given} axes: what it takes for maps is "
        "something else.",
        "Use x.unsqueeze(0) for one sample without a batch axis, the layer of the right rank, or "
        "Dropout for single values.",
    )


def _axis(evidence: Evidence) -> Iterator[Verdict]:
    for drop in evidence.drops:
        seen = drop.seen
        of_maps = _OF_MAPS.fullmatch(drop.place.kind) and not _wrong_rank(drop)
        channels_last = any(one.last_axis for one in drop.every) and seen.shape[-1] > 1
        if of_maps and channels_last and seen.product.axes in ((1,), (0, 1)):
            yield _at(
                drop,
                f"{drop.place.kind} drops along axis 1 of {seen.shape}, but the operation next to "
                "it has its channels in the last one: what falls are time steps or rows.",
                "Move the channels to axis 1, or use mapdrop.torch's SpatialDropout with "
                'data_format="channels_last".',
            )


def _samples(evidence: Evidence) -> Iterator[Verdict]:
    for drop in evidence.drops:
        shape, axes = drop.seen.shape, drop.seen.product.axes
        of_maps = _OF_MAPS.fullmatch(drop.place.kind) and not _wrong_rank(drop)
        if of_maps and set(axes) <= {0} and math.prod(shape[1:]) > 1:
            yield _at(
                drop,
                f"{drop.place.kind} drops whole samples of {shape}, which have one map each.",
                "Use Dropout for single values, DropBlock for regions, or DropPath if samples are "
                "meant.",
            )


def _batch_norm(evidence: Evidence) -> Iterator[Verdict]:
    for drop in evidence.drops:
        if any(one.batch_norm for one in drop.every):
            yield _at(
                drop,
                "BatchNorm comes directly behind it: in training it learns a variance that eval "
                "mode does not have (Li et al., CVPR 2019).",
                "Drop behind BatchNorm and its activation, best behind the last BatchNorm: a "
                "convolution in between does not take the shift away.",
            )


def _real_rate(evidence: Evidence) -> Iterator[Verdict]:
    for drop in evidence.drops:
        p, found = drop.place.p, drop.measured
        if p is not None and 0 < p < 1 and found.is_not(p):
            dtype = str(drop.seen.dtype).removeprefix("torch.")
            yield _at(
                drop,
                f"{drop.place.kind} drops {_rate(found.dropped)} of {drop.seen.shape} in {dtype}, "
                f"not p = {_rate(p)}.",
                "mapdrop.torch's layer of this kind drops p, in every dtype; or keep the rate, and "
                "say what it is.",
            )


def _ranks(evidence: Evidence) -> Iterator[Verdict]:
    if evidence.alike and evidence.drops:
        yield (
            "", "",
            f"{evidence.alike}: each drops the same places of its own samples.",
            "Add the rank to the seed of the generator; for seeded layers use mapdrop.torch.shard.",
        )  # fmt: skip


def _called_again(evidence: Evidence) -> Iterator[Verdict]:
    for layer in evidence.layers:
        if layer.calls > 1 and layer.p:
            yield (
                layer.where, layer.name,
                f"one {layer.kind} is called {layer.calls} times in a step: each call draws a mask "
                "of its own, and all have one rate.",
                "Make a layer for each place if their rates should differ.",
            )  # fmt: skip


def _nothing_dropped(evidence: Evidence) -> Iterator[Verdict]:
    for layer in evidence.layers:
        if layer.p == 0:
            yield (
                layer.where,
                layer.name,
                f"{layer.kind} drops nothing: p = 0.",
                "Set p, or remove it.",
            )


def _functional(evidence: Evidence) -> Iterator[Verdict]:
    for drop in evidence.drops:
        if drop.place.layer is None and drop.place.kind != UNKNOWN:
            yield _at(
                drop,
                f"{drop.place.kind} is no layer: what looks for modules (Monte-Carlo dropout, "
                "changes of p) does not find it.",
                "Call a layer if something should find it.",
            )


CHECKS: dict[str, Check] = {
    "never called": _never_called,
    "p = 1": _all_dropped,
    "active in eval mode": _in_eval,
    "rank": _rank,
    "axis": _axis,
    "whole samples": _samples,
    "before BatchNorm": _batch_norm,
    "rate": _real_rate,
    "same on every rank": _ranks,
}
"""What is wrong."""
NOTES: dict[str, Check] = {
    "called again": _called_again,
    "p = 0": _nothing_dropped,
    "functional": _functional,
}
"""What may be meant."""


def judged(checks: dict[str, Check], evidence: Evidence) -> tuple[Finding, ...]:
    """Return what these checks find."""
    return tuple(
        Finding(name, *verdict) for name, check in checks.items() for verdict in check(evidence)
    )


def _rate(p: float | None) -> str:
    return "?" if p is None else f"{p:.4g}"

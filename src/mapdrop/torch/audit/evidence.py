"""Evidence: what was seen and measured of a model, which the checks judge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from mapdrop.torch.audit.measure import Measured, measure, seconds_of_drop
from mapdrop.torch.audit.places import Place, forward_around, is_visible
from mapdrop.torch.audit.report import AuditedDrop
from mapdrop.torch.audit.watch import Run, Seen
from mapdrop.torch.drop_layers import rate_of


@dataclass(frozen=True, eq=False)
class MeasuredDrop:
    """A drop: all calls of it that were alike, and what its masks dropped."""

    every: tuple[Seen, ...]
    measured: Measured

    @property
    def seen(self) -> Seen:
        """The first call."""
        return self.every[0]

    @property
    def place(self) -> Place:
        """Where it is called."""
        return self.seen.place

    def audited(self, step_seconds: float | None) -> AuditedDrop:
        """Return its line of the report."""
        place, seen, calls = self.place, self.seen, len(self.every)
        seconds = calls * seconds_of_drop(seen.product, seen.example())
        return AuditedDrop(
            name=place.name,
            kind=place.kind,
            functional=place.layer is None,
            where=place.where,
            p=place.p,
            rate=self.measured.dropped,
            shape=seen.shape,
            dtype=str(seen.dtype).removeprefix("torch."),
            axes=seen.product.axes,
            calls=calls,
            share=None if step_seconds is None else seconds / step_seconds,
        )


@dataclass(frozen=True)
class Layer:
    """A drop layer of the model.

    Attributes:
        module, name: the layer.
        p: its rate.
        calls: how often a training step calls it.
        is_used: whether it is called in training or in eval mode: parts may be left out at random.
        where: the line of its first call that drops, or of the forward around it; "" if unknown.
    """

    module: nn.Module
    name: str
    p: float | None
    calls: int
    is_used: bool
    where: str

    @property
    def parent(self) -> str:
        """The name of the layer that it is a part of."""
        return self.name.rpartition(".")[0]

    @property
    def kind(self) -> str:
        """The name of its class."""
        return type(self.module).__name__


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of a model.

    Attributes:
        layers: its drop layers, called or not.
        drops: what drops in training.
        in_eval: what drops in eval mode.
        alike: why all processes of a group drop alike; "" if they do not, or there is one.
    """

    layers: tuple[Layer, ...]
    drops: tuple[MeasuredDrop, ...]
    in_eval: tuple[MeasuredDrop, ...]
    alike: str


def layers_of(run: Run, in_eval: Run) -> tuple[Layer, ...]:
    """Return the drop layers of a model that was watched, in both modes."""
    modules = {name: module for module, name in run.names.items()}
    used = {r.names[layer] for r in (run, in_eval) for layer, calls in r.calls.items() if calls}
    lines: dict[nn.Module | None, str] = {}
    for seen in run.drops:
        lines.setdefault(seen.place.layer, seen.place.where)
    return tuple(
        Layer(
            module,
            name,
            rate_of(module),
            run.calls.get(module, 0),
            name in used,
            lines.get(module) or forward_around(name, modules),
        )
        for module, name in run.names.items()
        if is_visible(module)
    )


def drops_of(seen: Iterable[Seen], known: dict[object, Measured]) -> tuple[MeasuredDrop, ...]:
    """Return what was seen without what multiplies by noise, equal calls together.

    Masks of one law are drawn once; `known` has those that were.
    """
    groups: dict[object, list[Seen]] = {}
    for one in seen:
        place = one.place
        at = place.name, place.kind, place.where, place.p
        groups.setdefault((at, one.shape, one.product.law, one.given), []).append(one)
    found = []
    for ones in groups.values():
        product = ones[0].product
        if product.law not in known:
            known[product.law] = measure(product)
        if known[product.law].is_drop:
            found.append(MeasuredDrop(tuple(ones), known[product.law]))
    return tuple(found)

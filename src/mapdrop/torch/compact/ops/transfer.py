"""What operations do to maps: where zeros go (down), what is read (up), and how to work packed.

A rule belongs to one node of a graph. `reads` are the nodes whose maps it works on. `support` gives
the maps of its output that may be non-zero, from those of its inputs; `demand` the maps of each
input that it reads, from those of its output that anybody reads. Both may give more than is true:
that is slower, never wrong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from mapdrop.torch.compact.lattice import (
    Joined,
    Maps,
    Nothing,
    Whole,
    any_in_block,
    any_sample,
    joined,
    part,
    repeated,
)
from mapdrop.torch.compact.packing.gather import convert
from mapdrop.torch.compact.packing.layout import Layout, aligned
from mapdrop.torch.compact.storage import Env, Form, Scope

Call = Callable[[Sequence[Tensor], Env], Any]


class Rule(ABC):
    """See the module."""

    reads: tuple[Node, ...] = ()
    homogeneous = False  # f(a * x) = a * f(x) for a > 0, x all of `reads`: a factor can wait.
    equal = True  # Works on maps that are as many in every sample, whichever they are.
    why = ""  # Why the maps must be whole, in one sentence, and what would change it.

    @abstractmethod
    def support(self, given: list[Maps]) -> Maps:
        """Of the output."""

    @abstractmethod
    def demand(self, wanted: Maps) -> list[Maps]:
        """Of the inputs."""

    def forms(self, form: Form) -> list[Form]:
        """How the inputs have to be stored for an output in that form.

        An output lacks a factor only where the rule is homogeneous.
        """
        return [form for _ in self.reads]

    @abstractmethod
    def run(self, values: list[Tensor], env: Env, scope: Scope, form: Form) -> Tensor:
        """The output in a packed form, from inputs in `forms`."""


class PerMap(Rule):
    """Every map alike: activations, pools, padding, resizing. The operation runs as it is."""

    def __init__(self, source: Node, call: Call, zero: bool, homogeneous: bool = False) -> None:
        self.reads = (source,)
        self.call, self.zero, self.homogeneous = call, zero, homogeneous

    def support(self, given: list[Maps]) -> Maps:
        """What was zero is zero, where f(0) = 0."""
        return given[0] if self.zero else Whole(given[0].channels)

    def demand(self, wanted: Maps) -> list[Maps]:
        """The same maps."""
        return [wanted]

    def forms(self, form: Form) -> list[Form]:
        """The same."""
        return [form]

    def run(self, values: list[Tensor], env: Env, scope: Scope, form: Form) -> Tensor:
        """See `Rule`."""
        result: Tensor = self.call(values, env)
        return result


class PerMapWith(PerMap):
    """Every map by parameters of its own: PReLU, BatchNorm in eval mode, depthwise convolutions.

    `work(x, parameters)` does it for the parameters of x's maps; `parameters(env)` has them all.
    """

    def __init__(
        self,
        source: Node,
        work: Callable[[Tensor, list[Tensor | None]], Tensor],
        parameters: Callable[[Env], list[Tensor | None]],
        zero: bool,
    ) -> None:
        super().__init__(source, lambda values, env: values[0], zero)
        self.work, self.parameters = work, parameters

    def run(self, values: list[Tensor], env: Env, scope: Scope, form: Form) -> Tensor:
        """See `Rule`."""
        layout = scope.layout(form.maps)
        assert layout is not None
        index = layout.channel_of_rows.to(values[0].device)
        chosen = [p if p is None else _of_channels(p, index) for p in self.parameters(env)]
        return self.work(values[0], chosen)


def _of_channels(parameter: Tensor, index: Tensor) -> Tensor:
    """One entry for each row; 0 for a zero map. A parameter of one entry is for all."""
    if parameter.shape[0] == 1:
        return parameter.expand(len(index), *parameter.shape[1:])
    zero = parameter.new_zeros((1, *parameter.shape[1:]))
    return torch.cat([parameter, zero]).index_select(0, index)


class BatchNormTraining(PerMapWith):
    """Statistics over the batch: a map is needed by all samples or by none.

    The maps that nobody needs are not normalised, and their running statistics stay as they are.
    """

    why = "BatchNorm in training reads every sample of a map: share one mask in the batch"

    def __init__(
        self,
        source: Node,
        parameters: Callable[[Env], list[Tensor | None]],
        layer: Any,
        samples: int,
    ) -> None:
        super().__init__(source, lambda x, chosen: x, parameters, zero=False)
        self.layer, self.samples = layer, samples

    def demand(self, wanted: Maps) -> list[Maps]:
        """What any sample needs."""
        return [any_sample(wanted)]

    def forms(self, form: Form) -> list[Form]:
        """All samples of the maps that one of them needs."""
        return [Form(any_sample(form.maps))] if form.maps is not None else [Form()]

    def run(self, values: list[Tensor], env: Env, scope: Scope, form: Form) -> Tensor:
        """See `Rule`."""
        assert form.maps is not None
        inside = any_sample(form.maps)
        layout = scope.layout(inside)
        assert layout is not None
        ids = layout.runs[0].index.to(values[0].device)
        x = values[0].view(self.samples, len(ids), *values[0].shape[2:])
        every = self.parameters(env)
        chosen = [p if p is None else _of_channels(p, ids) for p in every]
        layer = self.layer
        y = torch.nn.functional.batch_norm(x, *chosen, True, layer.momentum, layer.eps)  # type: ignore[arg-type, call-arg]
        if self.layer.num_batches_tracked is not None:
            self.layer.num_batches_tracked.add_(1)
        for whole, some in zip(every[:2], chosen[:2], strict=True):
            if whole is not None and some is not None:  # Those of zero maps go past the end.
                longer = torch.cat([whole, whole.new_zeros(1)]).index_copy(0, ids, some)
                whole.copy_(longer[:-1])
        return scope.convert(y.view(values[0].shape), Form(inside), Form(form.maps), None)


class Together(Rule):
    """Arrays of one size, or that broadcast to it, value by value: add, multiply, maximum."""

    def __init__(
        self,
        sources: list[Node],
        shapes: list[tuple[int, ...]],
        out: tuple[int, ...],
        call: Call,
        combine: Callable[[list[Maps]], Maps],
        homogeneous: bool,
    ) -> None:
        self.reads, self.shapes, self.out = tuple(sources), shapes, out
        self.call, self.combine = call, combine
        # What is broadcast is taken as it is: its factor cannot wait with the others'.
        self.homogeneous = homogeneous and all(map(self._full, range(len(shapes))))

    def support(self, given: list[Maps]) -> Maps:
        """Of a sum either's, of a product both's."""
        whole = Whole(self.out[1])
        return self.combine([s if self._full(i) else whole for i, s in enumerate(given)])

    def demand(self, wanted: Maps) -> list[Maps]:
        """The same maps; all, of what is broadcast."""
        return [wanted if self._full(i) else Whole(_channels(s)) for i, s in enumerate(self.shapes)]

    def _full(self, i: int) -> bool:
        """Whether the i-th input has a map for each of the output's."""
        return self.shapes[i][:2] == self.out[:2] and len(self.shapes[i]) == len(self.out)

    def forms(self, form: Form) -> list[Form]:
        """A factor of all inputs is one of the output; what is broadcast is read whole."""
        return [form if self._full(i) else Form() for i in range(len(self.shapes))]

    def run(self, values: list[Tensor], env: Env, scope: Scope, form: Form) -> Tensor:
        """See `Rule`."""
        layout = scope.layout(form.maps)
        assert layout is not None
        lined_up = [
            value if self._full(i) else _broadcast(value, len(self.out), self.out, layout)
            for i, value in enumerate(values)
        ]
        result: Tensor = self.call(lined_up, env)
        return result


def _channels(shape: tuple[int, ...]) -> int:
    return shape[1] if len(shape) > 1 else 1


def _broadcast(value: Tensor, dims: int, out: tuple[int, ...], layout: Any) -> Tensor:
    """An array that is broadcast to `out`, for the rows of a packed one."""
    wide = value.reshape([1] * (dims - value.dim()) + list(value.shape))
    sample = layout.sample_of_rows.to(value.device)
    channel = layout.channel_of_rows.clamp(max=layout.channels - 1).to(value.device)
    if wide.shape[0] == 1 and wide.shape[1] == 1:
        return wide
    if wide.shape[1] == 1:
        return wide.index_select(0, sample).transpose(0, 1)
    if wide.shape[0] == 1:
        return wide.index_select(1, channel)
    flat = wide.reshape(1, -1, *wide.shape[2:])
    return flat.index_select(1, sample * wide.shape[1] + channel)


class Concatenate(Rule):
    """Side by side along the channels."""

    homogeneous = True
    equal = False

    def __init__(self, sources: list[Node], channels: list[int]) -> None:
        self.reads, self.channels = tuple(sources), channels

    def support(self, given: list[Maps]) -> Maps:
        """Side by side."""
        return joined(given)

    def demand(self, wanted: Maps) -> list[Maps]:
        """Each its part."""
        firsts = [sum(self.channels[:i]) for i in range(len(self.channels))]
        return [part(wanted, a, n) for a, n in zip(firsts, self.channels, strict=True)]

    def forms(self, form: Form) -> list[Form]:
        """Each its part, whole ones packed too."""
        assert form.maps is not None
        return [Form(maps, form.gain) for maps in self.demand(form.maps)]

    def run(self, values: list[Tensor], env: Env, scope: Scope, form: Form) -> Tensor:
        """See `Rule`."""
        assert form.maps is not None
        parts = self.demand(form.maps)
        layouts = [scope.every(maps) for maps in parts]
        rows = [v.reshape(1, -1, *v.shape[2:]) for v in values]
        views = [
            run.of(value, i, i + 1)
            for first, last, members in aligned(layouts)
            for i in range(first, last)
            for value, run in zip(rows, members, strict=True)
        ]
        packed = torch.cat(views, 1)
        if isinstance(form.maps, Joined) and list(form.maps.parts) == parts:
            return packed
        return convert(packed, Layout.joined(layouts), scope.layout(form.maps), None)


class Slice(Rule):
    """Some neighbouring channels: chunk, split, narrow."""

    homogeneous = True
    equal = False

    def __init__(self, source: Node, total: int, first: int, channels: int) -> None:
        self.reads = (source,)
        self.total, self.first, self.channels = total, first, channels

    def support(self, given: list[Maps]) -> Maps:
        """Its part."""
        return part(given[0], self.first, self.channels)

    def demand(self, wanted: Maps) -> list[Maps]:
        """Nothing of the others."""
        rest = self.total - self.first - self.channels
        pieces = [Nothing(self.first), wanted, Nothing(rest)]
        return [joined([p for p in pieces if p.channels])]

    def forms(self, form: Form) -> list[Form]:
        """The same maps, nothing of the others."""
        assert form.maps is not None
        return [Form(self.demand(form.maps)[0], form.gain)]

    def run(self, values: list[Tensor], env: Env, scope: Scope, form: Form) -> Tensor:
        """See `Rule`. What was asked for is just these maps."""
        return values[0]


class Flatten(Rule):
    """(samples, channels, *space) to (samples, features): a map is some features in a row."""

    homogeneous = True

    def __init__(self, source: Node) -> None:
        self.reads = (source,)

    def support(self, given: list[Maps]) -> Maps:
        """The same maps."""
        return given[0]

    def demand(self, wanted: Maps) -> list[Maps]:
        """The same maps."""
        return [wanted]

    def run(self, values: list[Tensor], env: Env, scope: Scope, form: Form) -> Tensor:
        """See `Rule`: (1, rows, features of a map)."""
        return values[0].flatten(2) if values[0].dim() > 2 else values[0].unsqueeze(2)


def mixed_demand(wanted: Maps, channels: int) -> Maps:
    """All maps of the samples that anything is read of."""
    return repeated(any_in_block(wanted, wanted.channels), channels)

"""The rules of operations that mix maps: convolutions and Linear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, fx
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.torch.compact.lattice import Maps, Whole
from mapdrop.torch.compact.node import Site
from mapdrop.torch.compact.ops.transfer import PerMapWith, Rule, mixed_demand
from mapdrop.torch.compact.packed_conv.cpu import fits
from mapdrop.torch.compact.packed_conv.runs import Convolution, Dense, Job, mix
from mapdrop.torch.compact.storage import Env, Form, Scope


@dataclass
class Size:
    """What a mixing operation works on, for the cost model.

    `copies` of each map are made where mapdrop's own kernels do it; 0 where they cannot.
    """

    samples: int
    inputs: int
    outputs: int
    kernel: int
    space_in: int
    space_out: int
    copies: int = 0

    @property
    def direct(self) -> bool:
        """Whether mapdrop's own kernels do it."""
        return self.copies > 0


class Mixing(Rule):
    """Reads all maps and makes all: zeros need not be read, nor what nobody reads be made.

    `reads_form` and `fused` are set by the planner: how the input is stored, and whether a ReLU
    follows in the same pass.
    """

    def __init__(
        self,
        site: Site,
        settings: Convolution | Dense,
        parameters: Callable[[Env], list[Tensor | None]],
        size: Size,
        kernel: tuple[int, ...],
        before: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.reads = (site.arrays[0],)
        self.kernel = kernel
        self.site, self.settings, self.parameters, self.size = site, settings, parameters, size
        self.before = before
        self.reads_form = Form()
        self.fused = False

    def support(self, given: list[Maps]) -> Maps:
        """Every output map may be non-zero."""
        return Whole(self.size.outputs)

    def demand(self, wanted: Maps) -> list[Maps]:
        """Every input map, of the samples of which anything is wanted."""
        return [mixed_demand(wanted, self.site.shape(self.reads[0])[1])]

    def forms(self, form: Form) -> list[Form]:
        """Any: the factor goes into the weight."""
        return [self.reads_form]

    def run(self, values: list[Tensor], env: Env, scope: Scope, form: Form) -> Tensor:
        """See `Rule`; for whole outputs too, when the input is packed."""
        weight, bias = self.parameters(env)
        assert weight is not None
        x = values[0] if self.before is None else self.before(values[0])
        if isinstance(self.settings, Dense):
            inner = self.size.kernel
            weight = weight.view(weight.shape[0], -1, inner)
            x = x if self.reads_form.packed else x.view(x.shape[0], -1, inner)
        source, target = scope.layout(self.reads_form.maps), scope.layout(form.maps)
        made = mix(
            x, weight, bias, Job(self.settings, source, target, self.reads_form.gain, self.fused)
        )
        return made.unsqueeze(2) if isinstance(self.settings, Dense) and form.packed else made


def convolution(site: Site) -> Rule | None:
    """Convolutions that read every map; a depthwise one works map by map."""
    return _convolution(site, False)


def transposed(site: Site) -> Rule | None:
    """Transposed convolutions."""
    return _convolution(site, True)


def _convolution(site: Site, transposed: bool) -> Rule | None:
    module, source = site.module, site.arrays[0] if site.arrays else None
    dims = len(site.out) - 2
    if source is None or len(site.shape(source)) != dims + 2 or dims < 1:
        return None
    weight: Any
    if module is not None:
        if len(site.node.args) + len(site.node.kwargs) > 1:  # A size asked for at the call.
            return None
        given: Any = module
        parameters = site.parameters("weight", "bias")
        weight = site.node.meta["weight"]
    else:
        given = _Given(site, dims)
        parameters = site.given("weight", "bias")
        node = site.get("weight", 1, None)
        if not isinstance(node, fx.Node) or site.node.args[:1] != (source,):
            return None
        weight = node.meta["val"]
    kernel = tuple(weight.shape[2:])
    if module is not None and len(kernel) != dims:
        return None
    before, padding = _padding(given, kernel, transposed)
    extra = given.output_padding if transposed else (0,) * dims
    settings = Convolution(
        tuple(given.stride), padding, tuple(given.dilation), tuple(extra), transposed
    )
    before_shape = site.shape(source)
    if given.groups == before_shape[1] == site.out[1] and not transposed:
        return _depthwise(source, settings, parameters, given.bias is None, before)
    if given.groups != 1:
        return None
    # Under autocast the result's type is not the weight's.
    direct = fits(settings, site.node.meta["val"], weight)
    size = Size(
        site.out[0],
        before_shape[1],
        site.out[1],
        prod(kernel),
        prod(before_shape[2:]),
        prod(site.out[2:]),
        prod(kernel[1:]) if direct else 0,
    )
    return Mixing(site, settings, parameters, size, kernel, before)


class _Given:
    """A functional convolution's arguments under the names of a layer's."""

    padding_mode = "zeros"
    output_padding: tuple[int, ...] = ()

    def __init__(self, site: Site, dims: int) -> None:
        def each(name: str, position: int, default: Any) -> Any:
            value = site.get(name, position, default)
            if isinstance(value, str):
                return value
            values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
            return values * dims if len(values) == 1 else values

        self.bias = site.get("bias", 2, None)
        self.stride = each("stride", 3, 1)
        self.padding = each("padding", 4, 0)
        self.dilation = each("dilation", 5, 1)
        self.groups = site.get("groups", 6, 1)


def _padding(
    given: Any, kernel: tuple[int, ...], transposed: bool
) -> tuple[Callable[[Tensor], Tensor] | None, tuple[int, ...]]:
    """What is done before, map by map, and the zeros that the convolution itself adds."""
    none = (0,) * len(kernel)
    if transposed:
        return None, tuple(given.padding)
    if given.padding == "valid":
        return None, none
    if given.padding == "same":
        total = [d * (k - 1) for d, k in zip(given.dilation, kernel, strict=True)]
        sides = [(n // 2, n - n // 2) for n in total]
    else:
        sides = [(n, n) for n in given.padding]
    if given.padding_mode == "zeros" and all(low == high for low, high in sides):
        return None, tuple(low for low, _ in sides)
    wide = [n for side in reversed(sides) for n in side]
    mode = "constant" if given.padding_mode == "zeros" else given.padding_mode
    return lambda x: F.pad(x, wide, mode=mode), none


def _depthwise(
    source: fx.Node,
    settings: Convolution,
    parameters: Callable[[Env], list[Tensor | None]],
    zero: bool,
    before: Callable[[Tensor], Tensor] | None,
) -> Rule:
    def work(x: Tensor, given: list[Tensor | None]) -> Tensor:
        import torch

        weight, bias = given
        assert weight is not None
        padded = x if before is None else before(x)
        return torch.convolution(
            padded,
            weight,
            bias,
            settings.stride,
            settings.padding,
            settings.dilation,
            False,
            settings.output_padding,
            len(weight),
        )

    return PerMapWith(source, work, parameters, zero)


def dense(site: Site) -> Rule | None:
    """A Linear of (samples, features)."""
    source = site.arrays[0]
    shape = site.shape(source)
    if len(shape) != 2 or site.node.args[:1] != (source,):
        return None
    maps, inner = source.meta.get("maps", (shape[1], 1))
    size = Size(shape[0], maps, site.out[1], inner, 1, 1)
    found = site.given if site.module is None else site.parameters
    return Mixing(site, Dense(), found("weight", "bias"), size, (inner,))

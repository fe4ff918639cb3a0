"""Operations that mix maps: convolutions and Linear layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F  # noqa: N812 - the usual name

from mapdrop.torch.compact.lattice import AllMaps, MapSet, any_in_block, repeated
from mapdrop.torch.compact.node import Env, NodeInfo
from mapdrop.torch.compact.ops.op import Op
from mapdrop.torch.compact.ops.per_map import Parameters, PerMapWithParameters
from mapdrop.torch.compact.packed_conv.convolve import convolve
from mapdrop.torch.compact.packed_conv.cpu import supports
from mapdrop.torch.compact.packed_conv.operation import Convolution, Linear, PackedConv
from mapdrop.torch.compact.storage import StepState, Storage


@dataclass
class Workload:
    """The sizes of a convolution or Linear, for the cost model.

    `copies` of each map are made by mapdrop's own kernels; 0 if they do not support the operation.
    """

    samples: int
    inputs: int
    outputs: int
    kernel: int
    space_in: int
    space_out: int
    copies: int = 0

    @property
    def own_kernels(self) -> bool:
        """Whether mapdrop's own kernels do it."""
        return self.copies > 0


class ChannelMixing(Op):
    """A convolution or Linear: it need not read zeros, nor compute outputs that are not read.

    Attributes:
        input_storage: how the input is stored. Lowering sets it.
        fuse_relu: whether a ReLU follows in the same pass. Lowering sets it.
        prepare: what is done to the input first, map by map (padding), or None.
    """

    def __init__(
        self,
        info: NodeInfo,
        settings: Convolution | Linear,
        parameters: Parameters,
        workload: Workload,
        kernel: tuple[int, ...],
        prepare: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.sources = (info.arrays[0],)
        self.input_channels = info.shape(info.arrays[0])[1]
        self.settings, self.parameters = settings, parameters
        self.workload, self.kernel, self.prepare = workload, kernel, prepare
        self.input_storage = Storage()
        self.fuse_relu = False

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        """Return all maps: each is a sum over all inputs."""
        return AllMaps(self.workload.outputs)

    def live(self, output: MapSet) -> list[MapSet]:
        """Return all input maps of every sample of which any output is read."""
        return [repeated(any_in_block(output, output.channels), self.input_channels)]

    def input_storages(self, storage: Storage) -> list[Storage]:
        """Return any storage that lowering chose: the factor goes into the weight."""
        return [self.input_storage]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        """Return the output, packed or dense. The input is then the packed one."""
        weight, bias = self.parameters(env)
        assert weight is not None
        x = values[0] if self.prepare is None else self.prepare(values[0])
        linear = isinstance(self.settings, Linear)
        if linear:
            features = self.workload.kernel
            weight = weight.view(weight.shape[0], -1, features)
            x = x if self.input_storage.packed else x.view(x.shape[0], -1, features)
        conv = PackedConv(
            self.settings,
            state.layout(self.input_storage.maps),
            state.layout(storage.maps),
            self.input_storage.gain,
            self.fuse_relu,
        )
        y = convolve(x, weight, bias, conv)
        return y.unsqueeze(2) if linear and storage.packed else y


def convolution(info: NodeInfo) -> Op | None:
    """Build the op of a convolution. A depthwise one works map by map."""
    return _convolution(info, transposed=False)


def transposed_convolution(info: NodeInfo) -> Op | None:
    """Build the op of a transposed convolution."""
    return _convolution(info, transposed=True)


def linear(info: NodeInfo) -> Op | None:
    """Build the op of a Linear of (samples, features)."""
    source = info.arrays[0]
    shape = info.shape(source)
    if len(shape) != 2 or info.node.args[:1] != (source,):
        return None
    maps, features = source.meta.get("maps", (shape[1], 1))
    workload = Workload(shape[0], maps, info.out_shape[1], features, 1, 1)
    parameters = info.call_parameters if info.module is None else info.layer_parameters
    return ChannelMixing(info, Linear(), parameters("weight", "bias"), workload, (features,))


def _convolution(info: NodeInfo, transposed: bool) -> Op | None:
    module, source = info.module, info.arrays[0] if info.arrays else None
    dims = len(info.out_shape) - 2
    if source is None or len(info.shape(source)) != dims + 2 or dims < 1:
        return None
    weight: Any
    if module is not None:
        if len(info.node.args) + len(info.node.kwargs) > 1:  # An output size, given at the call.
            return None
        given: Any = module
        parameters = info.layer_parameters("weight", "bias")
        weight = info.node.meta["weight"]
    else:
        given = _CallSettings(info, dims)
        parameters = info.call_parameters("weight", "bias")
        node = info.argument("weight", 1, None)
        if not isinstance(node, fx.Node) or info.node.args[:1] != (source,):
            return None
        weight = node.meta["val"]
    kernel = tuple(weight.shape[2:])
    if module is not None and len(kernel) != dims:
        return None
    prepare, padding = _padding(given, kernel, transposed)
    output_padding = given.output_padding if transposed else (0,) * dims
    settings = Convolution(
        tuple(given.stride), padding, tuple(given.dilation), tuple(output_padding), transposed
    )
    in_shape, out_shape = info.shape(source), info.out_shape
    if given.groups == in_shape[1] == out_shape[1] and not transposed:
        return _depthwise(source, settings, parameters, given.bias is None, prepare)
    if given.groups != 1:
        return None
    # Under autocast the result's type is not the weight's.
    own_kernels = supports(settings, info.node.meta["val"], weight)
    workload = Workload(
        out_shape[0],
        in_shape[1],
        out_shape[1],
        prod(kernel),
        prod(in_shape[2:]),
        prod(out_shape[2:]),
        prod(kernel[1:]) if own_kernels else 0,
    )
    return ChannelMixing(info, settings, parameters, workload, kernel, prepare)


class _CallSettings:
    """The arguments of a functional convolution, by the names of a layer's attributes."""

    padding_mode = "zeros"
    output_padding: tuple[int, ...] = ()

    def __init__(self, info: NodeInfo, dims: int) -> None:
        def per_axis(name: str, position: int, default: Any) -> Any:
            value = info.argument(name, position, default)
            if isinstance(value, str):
                return value
            values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
            return values * dims if len(values) == 1 else values

        self.bias = info.argument("bias", 2, None)
        self.stride = per_axis("stride", 3, 1)
        self.padding = per_axis("padding", 4, 0)
        self.dilation = per_axis("dilation", 5, 1)
        self.groups = info.argument("groups", 6, 1)


def _padding(
    given: Any, kernel: tuple[int, ...], transposed: bool
) -> tuple[Callable[[Tensor], Tensor] | None, tuple[int, ...]]:
    """Return what pads the input first, map by map, and the zeros the convolution itself adds."""
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
    pad = [n for side in reversed(sides) for n in side]
    mode = "constant" if given.padding_mode == "zeros" else given.padding_mode
    return lambda x: F.pad(x, pad, mode=mode), none


def _depthwise(
    source: fx.Node,
    settings: Convolution,
    parameters: Parameters,
    keeps_zeros: bool,
    prepare: Callable[[Tensor], Tensor] | None,
) -> Op:
    def function(x: Tensor, chosen: list[Tensor | None]) -> Tensor:
        weight, bias = chosen
        assert weight is not None
        return torch.convolution(
            x if prepare is None else prepare(x),
            weight,
            bias,
            settings.stride,
            settings.padding,
            settings.dilation,
            False,
            settings.output_padding,
            len(weight),
        )

    return PerMapWithParameters(source, function, parameters, keeps_zeros)

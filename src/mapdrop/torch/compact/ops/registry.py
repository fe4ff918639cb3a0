"""The registry: the builder of every known layer and function. Add a line to extend it."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from mapdrop.torch.compact.lattice import intersection, union
from mapdrop.torch.compact.node import NodeInfo
from mapdrop.torch.compact.ops import builders, linear
from mapdrop.torch.compact.ops.builders import Build

_PER_MAP = builders.per_map()
_HOMOGENEOUS = builders.per_map(homogeneous=True)
_SUM = builders.elementwise(union, True)
_PRODUCT = builders.elementwise(intersection, False)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

LAYERS: dict[type[nn.Module], Build] = {
    **dict.fromkeys(_CONVOLUTIONS, linear.convolution),
    **dict.fromkeys(_TRANSPOSED, linear.transposed_convolution),
    nn.Linear: linear.linear,
    **dict.fromkeys(
        (
            nn.ReLU,
            nn.LeakyReLU,
            nn.Identity,
            nn.MaxPool1d,
            nn.MaxPool2d,
            nn.MaxPool3d,
            nn.AvgPool1d,
            nn.AvgPool2d,
            nn.AvgPool3d,
            nn.AdaptiveAvgPool1d,
            nn.AdaptiveAvgPool2d,
            nn.AdaptiveAvgPool3d,
            nn.AdaptiveMaxPool1d,
            nn.AdaptiveMaxPool2d,
            nn.AdaptiveMaxPool3d,
            nn.Upsample,
            nn.UpsamplingBilinear2d,
            nn.UpsamplingNearest2d,
            nn.ZeroPad1d,
            nn.ZeroPad2d,
            nn.ZeroPad3d,
            nn.ReflectionPad1d,
            nn.ReflectionPad2d,
            nn.ReflectionPad3d,
            nn.ReplicationPad1d,
            nn.ReplicationPad2d,
            nn.ReplicationPad3d,
        ),
        _HOMOGENEOUS,
    ),
    **dict.fromkeys(
        (
            nn.ReLU6,
            nn.ELU,
            nn.SELU,
            nn.CELU,
            nn.GELU,
            nn.SiLU,
            nn.Mish,
            nn.Sigmoid,
            nn.Tanh,
            nn.Hardtanh,
            nn.Hardswish,
            nn.Hardsigmoid,
            nn.Softplus,
            nn.Softsign,
            nn.Softshrink,
            nn.Hardshrink,
            nn.Tanhshrink,
            nn.LogSigmoid,
            nn.Threshold,
            nn.ConstantPad1d,
            nn.ConstantPad2d,
            nn.ConstantPad3d,
        ),
        _PER_MAP,
    ),
    nn.PReLU: builders.prelu,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), builders.batch_norm),
    **dict.fromkeys(
        (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), builders.instance_norm
    ),
    nn.Flatten: builders.flatten,
    **dict.fromkeys((nn.GroupNorm, nn.LayerNorm, nn.Softmax, nn.LocalResponseNorm), builders.dense),
}

FUNCTIONS: dict[Any, Build] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), linear.convolution),
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), linear.convolution),
    F.linear: linear.linear,
    F.batch_norm: builders.batch_norm,
    F.instance_norm: builders.instance_norm,
    F.prelu: builders.prelu,
    torch.prelu: builders.prelu,
    **dict.fromkeys(
        (
            F.relu,
            torch.relu,
            "relu",
            F.leaky_relu,
            F.max_pool1d,
            F.max_pool2d,
            F.max_pool3d,
            F.avg_pool1d,
            F.avg_pool2d,
            F.avg_pool3d,
            F.adaptive_avg_pool1d,
            F.adaptive_avg_pool2d,
            F.adaptive_avg_pool3d,
            F.interpolate,
            "contiguous",
            operator.neg,
            torch.neg,
            torch.abs,
            "abs",
        ),
        _HOMOGENEOUS,
    ),
    **dict.fromkeys(
        (
            torch.sigmoid,
            F.sigmoid,
            "sigmoid",
            torch.tanh,
            F.tanh,
            "tanh",
            F.gelu,
            F.silu,
            F.elu,
            F.selu,
            F.relu6,
            F.mish,
            F.hardswish,
            F.hardsigmoid,
            F.hardtanh,
            F.softplus,
            torch.exp,
            "exp",
            torch.square,
            "square",
            torch.clamp,
            "clamp",
            torch.sin,
            torch.cos,
            operator.pow,
            torch.pow,
            "pow",
        ),
        _PER_MAP,
    ),
    **dict.fromkeys(("mean", torch.mean, "sum", torch.sum, "amax", torch.amax), builders.reduction),
    **dict.fromkeys(
        (
            operator.add,
            operator.iadd,
            torch.add,
            "add",
            operator.sub,
            operator.isub,
            torch.sub,
            "sub",
        ),
        _SUM,
    ),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul"), _PRODUCT),
    **dict.fromkeys((operator.truediv, torch.div, "div"), builders.elementwise(None, False)),
    **dict.fromkeys((torch.maximum, torch.minimum), builders.elementwise(union, True)),
    **dict.fromkeys((torch.cat, torch.concat), builders.concatenate),
    operator.getitem: builders.item,
    F.pad: builders.pad,
    **dict.fromkeys((torch.flatten, "flatten", "view", "reshape", torch.reshape), builders.flatten),
    **dict.fromkeys(
        (
            torch.chunk,
            "chunk",
            torch.split,
            "split",
            "size",
            "dim",
            getattr,
            "permute",
            "transpose",
            torch.matmul,
            operator.matmul,
            F.softmax,
            torch.softmax,
            "softmax",
            torch.permute,
            F.group_norm,
            F.layer_norm,
            F.normalize,
            torch.squeeze,
            "squeeze",
            torch.unsqueeze,
            "unsqueeze",
            "expand",
            "to",
            "float",
            operator.floordiv,
            operator.mod,
        ),
        builders.dense,
    ),
}


def find_builder(info: NodeInfo) -> Build | None:
    """Return the builder of a node's operation; None if it is not in the registry."""
    node = info.node
    if node.op == "call_module" and info.module is not None:
        kind = type(info.module)
        return next(
            (
                LAYERS[base]
                for base in kind.__mro__
                if base in LAYERS and kind.forward is base.forward
            ),
            None,
        )
    if node.op == "call_method":
        return FUNCTIONS.get(str(node.target))
    return FUNCTIONS.get(node.target)

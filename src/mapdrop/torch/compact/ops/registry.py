"""Which rule an operation has: one table for layers and functions. Add a line to extend it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.torch.compact.lattice import Maps, both, union
from mapdrop.torch.compact.node import Site
from mapdrop.torch.compact.ops import linear, transfer
from mapdrop.torch.compact.ops.transfer import Rule

Build = Callable[[Site], Rule | None]


def per_map(homogeneous: bool = False) -> Build:
    """Whether zeros stay zeros is tried out."""

    def build(site: Site) -> Rule | None:
        sources = site.arrays
        if len(sources) != 1 or not site.same_maps(sources[0]) or site.other_tensors:
            return None
        of_zero = site.of_zero(sources[0])
        if not site.rank_fits(sources[0]) or of_zero is None:
            return None
        zero = of_zero == 0
        return transfer.PerMap(sources[0], site.call(), zero, homogeneous and zero)

    return build


def together(combine: Callable[[list[Maps]], Maps] | None, linear_in_all: bool) -> Build:
    """`combine` of the supports; None where the operands must be whole: 0 / 0 is no zero."""

    def build(site: Site) -> Rule | None:
        sources = site.arrays
        shapes = [site.shape(source) for source in sources]
        full = [s for s in shapes if s[:2] == site.out[:2] and len(s) == len(site.out)]
        scalars = len(sources) < 2
        if not full or len(site.out) < 3 or any(a not in sources for a in site.tensors):
            return None
        if scalars:  # With a number: as any other function of one array.
            return per_map()(site)
        if combine is None:
            return None
        return transfer.Together(sources, shapes, site.out, site.call(), combine, linear_in_all)

    return build


def intersection(given: list[Maps]) -> Maps:
    """Of one set or more."""
    found = given[0]
    for other in given[1:]:
        found = both(found, other)
    return found


def prelu(site: Site) -> Rule | None:
    """One slope for all maps, or one for each."""
    parameters = site.parameters("weight") if site.module else site.given("weight")
    if _features(site) or not site.same_maps(site.arrays[0]):
        return None
    return transfer.PerMapWith(
        site.arrays[0], lambda x, p: F.prelu(x, _required(p[0])), parameters, True
    )


def batch_norm(site: Site) -> Rule | None:
    """By running statistics: a factor and a shift for each map. In training: over the batch."""
    module = site.module
    if not site.same_maps(site.arrays[0]) or _features(site):
        return None
    names = ("running_mean", "running_var", "weight", "bias")
    parameters = site.given(*names) if module is None else site.parameters(*names)
    if module is None:
        module = SimpleNamespace(
            training=site.get("training", 5, False),
            momentum=site.get("momentum", 6, 0.1),
            eps=site.get("eps", 7, 1e-5),
            running_mean=site.get("running_mean", 1, None),
            num_batches_tracked=None,
        )
    if module.training or module.running_mean is None:
        if module.momentum is None:
            return None
        return transfer.BatchNormTraining(site.arrays[0], parameters, module, site.out[0])

    def work(x: Tensor, given: list[Tensor | None]) -> Tensor:
        mean, variance, weight, bias = given
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, module.eps)

    return transfer.PerMapWith(site.arrays[0], work, parameters, False)


def instance_norm(site: Site) -> Rule | None:
    """Each map by its own statistics."""
    module = site.module
    fits = site.same_maps(site.arrays[0]) and site.rank_fits(site.arrays[0])
    if len(site.out) < 3 or not fits:
        return None
    if module is None:
        running, eps = site.get("running_mean", 1, None), site.get("eps", 7, 1e-5)
        zero = site.get("bias", 4, None) is None
        parameters = site.given("running_mean", "running_var", "weight", "bias")
        chosen = lambda env: parameters(env)[2:]  # noqa: E731
        by_input = site.get("use_input_stats", 5, True)
    else:
        running, eps, zero = module.track_running_stats or None, module.eps, not module.affine
        chosen, by_input = site.parameters("weight", "bias"), True
    if running is not None or not by_input:
        return None

    def work(x: Tensor, given: list[Tensor | None]) -> Tensor:
        return F.instance_norm(x, None, None, given[0], given[1], True, 0.0, eps)

    return transfer.PerMapWith(site.arrays[0], work, chosen, zero)


def concatenate(site: Site) -> Rule | None:
    """Along the channels."""
    given = site.get("tensors", 0, ())
    sources = [n for n in given if isinstance(n, fx.Node) and n in site.arrays]
    axis = site.get("dim", 1, site.node.kwargs.get("axis", 0))
    if len(sources) != len(given) or axis % len(site.out) != 1 or len(site.out) < 3:
        return None
    return transfer.Concatenate(sources, [site.shape(source)[1] for source in sources])


def item(site: Site) -> Rule | None:
    """Part of each map; or one of the parts that chunk or split made of the channels."""
    parts, index = site.node.args
    if isinstance(index, tuple) and isinstance(parts, fx.Node) and parts in site.arrays:
        rank = len(site.shape(parts))
        spare = rank - sum(i is not Ellipsis for i in index)
        full = [j for i in index for j in ([slice(None)] * spare if i is Ellipsis else [i])]
        plain = all(isinstance(i, slice) for i in full) and full[:2] == [slice(None)] * 2
        return per_map(homogeneous=True)(site) if plain and rank >= 3 else None
    if not isinstance(parts, fx.Node) or not isinstance(index, int) or not parts.args:
        return None
    if _name(parts) not in ("chunk", "split", "tensor_split") or not isinstance(
        parts.args[0], fx.Node
    ):
        return None
    sizes = [tuple(t.shape) for t in parts.meta["val"]]
    source = parts.args[0]
    total = site.shape(source)
    if len(total) < 3 or any(s[0] != total[0] or s[2:] != total[2:] for s in sizes):
        return None
    widths = [s[1] for s in sizes]
    place = index % len(widths)
    return transfer.Slice(source, total[1], sum(widths[:place]), widths[place])


def flatten(site: Site) -> Rule | None:
    """All but the samples into one axis."""
    source = site.arrays[0] if len(site.arrays) == 1 else None
    if source is None:
        return None
    before = site.shape(source)
    if len(before) < 3 or len(site.out) != 2 or site.out[0] != before[0]:
        same = site.out == before
        return transfer.PerMap(source, lambda values, env: values[0], True, True) if same else None
    return transfer.Flatten(source)


def reduction(site: Site) -> Rule | None:
    """Over the space of a map: mean, sum, maximum."""
    source = site.arrays[0]
    dims = site.get("dim", 1, None)
    axes = dims if isinstance(dims, (tuple, list)) else (dims,)
    rank = len(site.shape(source))
    if any(not isinstance(axis, int) or axis % rank < 2 for axis in axes):
        return None
    return per_map()(site)


def pad(site: Site) -> Rule | None:
    """Around each map."""
    sides = site.get("pad", 1, ())
    inside = len(sides) <= 2 * (len(site.out) - 2)
    return per_map(homogeneous=True)(site) if inside else None


def _features(site: Site) -> bool:
    """Whether the input was flattened, so that its numbers are no longer the maps'."""
    return bool(site.arrays[0].meta.get("maps", (0, 1))[1] > 1)


def _required(parameter: Tensor | None) -> Tensor:
    assert parameter is not None
    return parameter


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def known(site: Site) -> Rule | None:
    """An operation without randomness that takes and makes whole arrays."""
    return None


_ELEMENT = per_map()
_SCALING = per_map(homogeneous=True)
_SUM = together(union, True)
_PRODUCT = together(intersection, False)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

LAYERS: dict[type[nn.Module], Build] = {
    **dict.fromkeys(_CONVOLUTIONS, linear.convolution),
    **dict.fromkeys(_TRANSPOSED, linear.transposed),
    nn.Linear: linear.dense,
    **dict.fromkeys(
        (
            nn.ReLU, nn.LeakyReLU, nn.Identity, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
            nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
            nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
            nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d, nn.ZeroPad1d,
            nn.ZeroPad2d, nn.ZeroPad3d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d,
            nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d,
        ),
        _SCALING,
    ),
    **dict.fromkeys(
        (
            nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
            nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.Softshrink,
            nn.Hardshrink, nn.Tanhshrink, nn.LogSigmoid, nn.Threshold, nn.ConstantPad1d,
            nn.ConstantPad2d, nn.ConstantPad3d,
        ),
        _ELEMENT,
    ),
    nn.PReLU: prelu,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), batch_norm),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), instance_norm),
    nn.Flatten: flatten,
    **dict.fromkeys((nn.GroupNorm, nn.LayerNorm, nn.Softmax, nn.LocalResponseNorm), known),
}  # fmt: skip

FUNCTIONS: dict[Any, Build] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), linear.convolution),
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), linear.convolution),
    F.linear: linear.dense,
    F.batch_norm: batch_norm,
    F.instance_norm: instance_norm,
    F.prelu: prelu,
    torch.prelu: prelu,
    **dict.fromkeys(
        (
            F.relu, torch.relu, "relu", F.leaky_relu, F.max_pool1d, F.max_pool2d, F.max_pool3d,
            F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
            F.adaptive_avg_pool3d, F.interpolate, "contiguous", operator.neg, torch.neg,
            torch.abs, "abs",
        ),
        _SCALING,
    ),
    **dict.fromkeys(
        (
            torch.sigmoid, F.sigmoid, "sigmoid", torch.tanh, F.tanh, "tanh", F.gelu, F.silu, F.elu,
            F.selu, F.relu6, F.mish, F.hardswish, F.hardsigmoid, F.hardtanh, F.softplus, torch.exp,
            "exp", torch.square, "square", torch.clamp, "clamp", torch.sin, torch.cos, operator.pow,
            torch.pow, "pow",
        ),
        _ELEMENT,
    ),
    **dict.fromkeys(
        ("mean", torch.mean, "sum", torch.sum, "amax", torch.amax), reduction
    ),
    **dict.fromkeys(
        (
            operator.add, operator.iadd, torch.add, "add", operator.sub, operator.isub, torch.sub,
            "sub",
        ),
        _SUM,
    ),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul"), _PRODUCT),
    **dict.fromkeys((operator.truediv, torch.div, "div"), together(None, False)),
    **dict.fromkeys((torch.maximum, torch.minimum), together(union, True)),
    **dict.fromkeys((torch.cat, torch.concat), concatenate),
    operator.getitem: item,
    F.pad: pad,
    **dict.fromkeys((torch.flatten, "flatten", "view", "reshape", torch.reshape), flatten),
    **dict.fromkeys(
        (
            torch.chunk, "chunk", torch.split, "split", "size", "dim", getattr, "permute",
            "transpose", torch.matmul, operator.matmul, F.softmax, torch.softmax, "softmax",
            torch.permute, F.group_norm, F.layer_norm, F.normalize, torch.squeeze, "squeeze",
            torch.unsqueeze,
            "unsqueeze", "expand", "to", "float", operator.floordiv, operator.mod,
        ),
        known,
    ),
}  # fmt: skip


def builder(site: Site) -> Build | None:
    """The table's line for a node; None for an operation that is not in it."""
    node = site.node
    if node.op == "call_module" and site.module is not None:
        kind = type(site.module)
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

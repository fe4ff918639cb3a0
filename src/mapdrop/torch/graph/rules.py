"""Rules: each looks at a call and returns its facts, or None if it needs whole arrays.

A rule gets the node, what is known of its operation, and how many maps a node's result has, each
of how many features (1 unless a flatten came before).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mapdrop.torch.graph.drops import MapDrop, feature_drop, pattern_drop_of
from mapdrop.torch.graph.facts import (
    BatchNormTraining,
    ChannelMixing,
    Concatenate,
    DepthwiseConvolution,
    Elementwise,
    Facts,
    Flatten,
    Identity,
    PerMap,
    PerMapWithParameters,
    Slice,
)
from mapdrop.torch.graph.graph import Node, caller
from mapdrop.torch.graph.record import MapsOf, Record
from mapdrop.torch.graph.replicas import ReplicatedDrop
from mapdrop.torch.graph.sample_rules import has_own_statistics
from mapdrop.torch.graph.settings import Convolution, Linear


def per_map(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a function of every map. Whether it keeps zeros is tried out."""
    sources = node.arrays
    if len(sources) != 1 or len(node.tensors) > 1 or not _same_maps(node):
        return None
    largest = _largest_at_zero(node)
    if not _rank_fits(node) or largest is None:
        return None
    return PerMap(
        sources=sources, homogeneous=record.homogeneous and largest == 0, keeps_zeros=largest == 0
    )


def elementwise(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a function of several arrays, value by value; of an array and a number."""
    sources, shape = node.arrays, node.shape
    full = tuple(s.shape[:2] == shape[:2] and len(s.shape) == len(shape) for s in sources)
    if not any(full) or len(shape) < 3 or len(sources) < len(node.tensors):
        return None
    if len(sources) < 2:
        return per_map(node, record, maps)
    if record.combine is None:
        return None
    # An input that is broadcast has its factor applied at once; then the others' cannot wait.
    homogeneous = record.homogeneous and all(full)
    return Elementwise(
        sources=sources,
        homogeneous=homogeneous,
        combine=record.combine,
        full=full,
        channels=shape[1],
    )


def copy(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a copy over an array of the same kind, of which nothing is left."""
    old, new = (*node.args, None, None)[:2]
    if not isinstance(old, Node) or not isinstance(new, Node):
        return None
    same = old.shape == new.shape and old.value.dtype == new.value.dtype
    return _identity(new) if same and new in node.arrays else None


def prelu(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find PReLU, with one slope for all maps or one for each."""
    source = node.arrays[:1]
    if not source or maps(source[0])[1] > 1 or not _same_maps(node):
        return None
    return PerMapWithParameters(
        sources=source, keeps_zeros=True, parameters=(node.argument("weight", 1),)
    )


def batch_norm(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find BatchNorm: a factor and a shift of each map, or statistics over the batch."""
    source = node.arrays[:1]
    if not source or maps(source[0])[1] > 1 or not _same_maps(node):
        return None
    names = ("running_mean", "running_var", "weight", "bias")
    parameters = tuple(node.argument(name, 1 + i) for i, name in enumerate(names))
    known: dict[str, Any] = {"sources": source, "keeps_zeros": False, "parameters": parameters}
    if node.argument("training", 5, False):
        return BatchNormTraining(**known)
    return PerMapWithParameters(**known)


def instance_norm(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find InstanceNorm by each map's own statistics; None if it uses running ones."""
    source = node.arrays[:1]
    if not source or not has_own_statistics(node):
        return None
    weight, bias = node.argument("weight", 3), node.argument("bias", 4)
    return PerMapWithParameters(sources=source, keeps_zeros=bias is None, parameters=(weight, bias))


def concatenate(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a concatenation along the channels."""
    given = node.argument("tensors", 0)
    if not isinstance(given, (tuple, list)):  # What chunk or split returned.
        return None
    axis = node.argument("dim", 1, (node.kwargs or {}).get("axis", 0))
    rank = len(node.shape)
    fits = all(isinstance(n, Node) and n in node.arrays and len(n.shape) == rank for n in given)
    if not fits or rank < 3 or axis % rank != 1:
        return None
    return Concatenate(sources=tuple(given), homogeneous=True)


def item(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find an index: a part of each map, or one of the parts that chunk or split returned."""
    source, index = node.args
    if isinstance(source, Node) and source.is_array and isinstance(index, tuple):
        slices = all(i is Ellipsis or isinstance(i, slice) for i in index)
        return per_map(node, record, maps) if slices and len(source.shape) >= 3 else None
    if isinstance(source, Node) and isinstance(index, int):
        return _part_of_split(source, index)
    return None


def _part_of_split(split: Node, index: int) -> Facts | None:
    if split.operation not in ("chunk", "split", "tensor_split") or len(split.arrays) != 1:
        return None
    (source,) = split.arrays
    sizes, total = [tuple(t.shape) for t in split.value], source.shape
    if len(total) < 3 or any(s[0] != total[0] or s[2:] != total[2:] for s in sizes):
        return None
    widths = [s[1] for s in sizes]
    at = index % len(widths)
    return Slice(sources=(source,), homogeneous=True, first=sum(widths[:at]), channels=widths[at])


def flatten(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a flatten of all axes but the samples."""
    if len(node.arrays) != 1 or len(node.tensors) != 1:
        return None
    (source,) = node.arrays
    if node.value.dtype != source.value.dtype:  # A view of the bits.
        return None
    if node.shape == source.shape:
        return _identity(source)
    fits = len(source.shape) >= 3 and len(node.shape) == 2 and node.shape[0] == source.shape[0]
    return Flatten(sources=(source,), homogeneous=True, keeps_zeros=True) if fits else None


def reduction(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a mean, sum or maximum over the space of a map."""
    dims = node.argument("dim", 1)
    axes = dims if isinstance(dims, (tuple, list)) else (dims,)
    if not node.arrays or not all(isinstance(axis, int) for axis in axes):
        return None
    within = all(axis % len(node.arrays[0].shape) >= 2 for axis in axes)
    return per_map(node, record, maps) if within else None


def pad(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a padding around each map."""
    within = len(node.argument("pad", 1, ())) <= 2 * (len(node.shape) - 2)
    return per_map(node, record, maps) if within else None


def idle_dropout(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a dropout that drops nothing."""
    idle = not node.argument("training", 2, True) or node.argument("p", 1, 0.5) == 0
    return _identity(node.arrays[0]) if idle and len(node.arrays) == 1 else None


def feature_dropout(node: Node, record: Record, maps: MapsOf) -> MapDrop | Facts | None:
    """Find PyTorch's own drop of whole maps; the identity if it drops nothing."""
    return feature_drop(node) or idle_dropout(node, record, maps)


def pattern_drop(node: Node, record: Record, maps: MapsOf) -> MapDrop | None:
    """Find mapdrop's drop, if its coins belong to whole maps or samples."""
    return pattern_drop_of(node)


def replicated(node: Node, record: Record, maps: MapsOf) -> MapDrop | None:
    """Find a drop of whole maps that is called for each replica of a batch."""
    one: Node = node.target.node  # type: ignore[union-attr]
    axes = [node.target.axis, *node.target.axes][:2]  # type: ignore[union-attr]
    if not one.is_array or not node.is_array or axes != [0, 0]:
        return None
    drop: MapDrop | None = None
    if one.operation == "mapdrop.drop":
        drop = pattern_drop_of(one)
    elif one.operation in ("dropout1d", "dropout2d", "dropout3d"):
        drop = feature_drop(one)
    return None if drop is None else ReplicatedDrop(drop, node)


def _identity(source: Node) -> Facts:
    return Identity(sources=(source,), homogeneous=True, keeps_zeros=True)


def dense(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Return None, for an operation that draws no random numbers but needs whole arrays."""
    return None


def linear(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a Linear of (samples, features)."""
    source, weight = node.argument("input", 0), node.argument("weight", 1)
    if len(source.shape) != 2 or len(weight.shape) != 2:
        return None
    inputs, features = maps(source)
    bias = node.argument("bias", 2)
    outputs = node.shape[1]
    return ChannelMixing(
        sources=(source,),
        weight=weight,
        bias=bias,
        settings=Linear(),
        inputs=inputs,
        outputs=outputs,
        kernel=(features,),
    )


def convolution(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a convolution. A depthwise one works map by map."""
    source, weight, bias = _operands(node)
    if source is None:
        return None
    settings, padding, groups = _settings(node, weight)
    channels = source.shape[1]
    if groups == channels == node.shape[1]:
        return DepthwiseConvolution(
            sources=(source,), keeps_zeros=bias is None, parameters=(weight, bias)
        )
    return _mixing(node, source, weight, bias, settings, padding) if groups == 1 else None


def transposed_convolution(node: Node, record: Record, maps: MapsOf) -> Facts | None:
    """Find a transposed convolution."""
    source, weight, bias = _operands(node)
    if source is None or node.argument("groups", 6, 1) != 1:
        return None
    dims = len(node.shape) - 2
    settings = Convolution(
        _per_axis(node, "stride", 3, 1, dims),
        _per_axis(node, "padding", 4, 0, dims),
        _per_axis(node, "dilation", 7, 1, dims),
        _per_axis(node, "output_padding", 5, 0, dims),
        True,
    )
    return _mixing(node, source, weight, bias, settings, None)


def _operands(node: Node) -> tuple[Any, Any, Any]:
    """Return the input, the weight and the bias of a batched convolution, or None three times."""
    source, weight = node.argument("input", 0), node.argument("weight", 1)
    batched = len(source.shape) == len(weight.shape)
    return (source, weight, node.argument("bias", 2)) if batched else (None, None, None)


def _mixing(
    node: Node, source: Node, weight: Node, bias: Any, settings: Convolution, padding: Any
) -> Facts:
    return ChannelMixing(
        sources=(source,),
        weight=weight,
        bias=bias,
        settings=settings,
        pad=padding,
        inputs=source.shape[1],
        outputs=node.shape[1],
        kernel=weight.shape[2:],
    )


def _settings(node: Node, weight: Node) -> tuple[Convolution, tuple[int, ...] | None, int]:
    """Return a convolution's settings, how its input is padded first, and its groups."""
    dims = len(node.shape) - 2
    stride = _per_axis(node, "stride", 3, 1, dims)
    dilation = _per_axis(node, "dilation", 5, 1, dims)
    given = node.argument("padding", 4, 0)
    none, groups = (0,) * dims, node.argument("groups", 6, 1)
    if given == "same":
        total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        sides = [(n // 2, n - n // 2) for n in total]
    else:
        each = none if given == "valid" else _per_axis(node, "padding", 4, 0, dims)
        sides = [(n, n) for n in each]
    if all(low == high for low, high in sides):
        return Convolution(stride, tuple(low for low, _ in sides), dilation, none), None, groups
    around = tuple(n for side in reversed(sides) for n in side)
    return Convolution(stride, none, dilation, none), around, groups


def _per_axis(node: Node, name: str, position: int, default: int, dims: int) -> tuple[int, ...]:
    value = node.argument(name, position, default)
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return values * dims if len(values) == 1 else values


def _same_maps(node: Node) -> bool:
    """Return whether the result has one map for each map of the source."""
    return len(node.shape) >= 2 and node.arrays[0].shape[:2] == node.shape[:2]


def _rank_fits(node: Node) -> bool:
    """Return whether a 1d, 2d or 3d operation gets (samples, channels, *space) of that rank."""
    name = node.operation
    dims = int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else None
    return dims is None or len(node.arrays[0].shape) == dims + 2


def _largest_at_zero(node: Node) -> float | None:
    """Call the operation on a map of zeros and return the largest absolute value.

    None if the call fails or a value is not finite.
    """
    zeros = torch.zeros((1, 1, *node.arrays[0].shape[2:]))
    try:
        with torch.no_grad():
            result = caller(node)({node.arrays[0]: zeros})
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None
    if not isinstance(result, Tensor) or not result.isfinite().all():
        return None
    return float(result.abs().max()) if result.numel() else 0.0

"""Builders: each looks at a node and returns its `Op`, or None if the node needs dense arrays."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from torch import Tensor, fx
from torch.nn import functional as F  # noqa: N812 - the usual name

from mapdrop.torch.compact.lattice import MapSet
from mapdrop.torch.compact.node import NodeInfo
from mapdrop.torch.compact.ops.channels import Concatenate, Flatten, Slice
from mapdrop.torch.compact.ops.elementwise import Elementwise
from mapdrop.torch.compact.ops.op import Op
from mapdrop.torch.compact.ops.per_map import BatchNormTraining, PerMap, PerMapWithParameters

Build = Callable[[NodeInfo], Op | None]


def per_map(homogeneous: bool = False) -> Build:
    """Return the builder of a function of every map. Whether it keeps zeros is tried out."""

    def build(info: NodeInfo) -> Op | None:
        sources = info.arrays
        if len(sources) != 1 or not info.same_maps(sources[0]) or info.has_other_tensors:
            return None
        largest = info.largest_at_zero(sources[0])
        if not info.rank_fits(sources[0]) or largest is None:
            return None
        keeps_zeros = largest == 0
        return PerMap(sources[0], info.call(), keeps_zeros, homogeneous and keeps_zeros)

    return build


def elementwise(combine: Callable[[MapSet, MapSet], MapSet] | None, homogeneous: bool) -> Build:
    """Return the builder of a function of several arrays.

    Args:
        combine: returns what may be non-zero of two inputs; None if they must be dense, as for a
            division, of which 0 / 0 is not zero.
        homogeneous: see `Op`.
    """

    def build(info: NodeInfo) -> Op | None:
        sources, out_shape = info.arrays, info.out_shape
        shapes = [info.shape(source) for source in sources]
        full = [s for s in shapes if s[:2] == out_shape[:2] and len(s) == len(out_shape)]
        if not full or len(out_shape) < 3 or any(a not in sources for a in info.tensors):
            return None
        if len(sources) < 2:  # With a number: a function of one array like any other.
            return per_map()(info)
        if combine is None:
            return None
        return Elementwise(sources, shapes, out_shape, info.call(), combine, homogeneous)

    return build


def prelu(info: NodeInfo) -> Op | None:
    """Build PReLU, with one slope for all maps or one for each."""
    parameters = info.layer_parameters("weight") if info.module else info.call_parameters("weight")
    if _is_flattened(info) or not info.same_maps(info.arrays[0]):
        return None

    def function(x: Tensor, chosen: list[Tensor | None]) -> Tensor:
        (slope,) = chosen
        assert slope is not None
        return F.prelu(x, slope)

    return PerMapWithParameters(info.arrays[0], function, parameters, True)


def batch_norm(info: NodeInfo) -> Op | None:
    """Build BatchNorm: a factor and a shift of each map in eval mode, or over the batch."""
    module = info.module
    if not info.same_maps(info.arrays[0]) or _is_flattened(info):
        return None
    names = ("running_mean", "running_var", "weight", "bias")
    parameters = info.call_parameters(*names) if module is None else info.layer_parameters(*names)
    if module is None:
        module = SimpleNamespace(
            training=info.argument("training", 5, False),
            momentum=info.argument("momentum", 6, 0.1),
            eps=info.argument("eps", 7, 1e-5),
            running_mean=info.argument("running_mean", 1, None),
            num_batches_tracked=None,
        )
    if module.training or module.running_mean is None:
        if module.momentum is None:
            return None
        return BatchNormTraining(info.arrays[0], parameters, module, info.out_shape[0])

    def function(x: Tensor, chosen: list[Tensor | None]) -> Tensor:
        mean, variance, weight, bias = chosen
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, module.eps)

    return PerMapWithParameters(info.arrays[0], function, parameters, False)


def instance_norm(info: NodeInfo) -> Op | None:
    """Build InstanceNorm by each map's own statistics; None if it uses running ones."""
    module = info.module
    fits = info.same_maps(info.arrays[0]) and info.rank_fits(info.arrays[0])
    if len(info.out_shape) < 3 or not fits:
        return None
    if module is None:
        running = info.argument("running_mean", 1, None)
        eps = info.argument("eps", 7, 1e-5)
        keeps_zeros = info.argument("bias", 4, None) is None
        own_statistics = info.argument("use_input_stats", 5, True)
        parameters = info.call_parameters("running_mean", "running_var", "weight", "bias")
    else:
        running, eps = module.track_running_stats or None, module.eps
        keeps_zeros, own_statistics = not module.affine, True
        parameters = info.layer_parameters("weight", "bias")
    if running is not None or not own_statistics:
        return None

    def function(x: Tensor, chosen: list[Tensor | None]) -> Tensor:
        weight, bias = chosen
        return F.instance_norm(x, None, None, weight, bias, True, 0.0, eps)

    source = info.arrays[0]
    return PerMapWithParameters(source, function, lambda env: parameters(env)[-2:], keeps_zeros)


def concatenate(info: NodeInfo) -> Op | None:
    """Build a concatenation along the channels."""
    given = info.argument("tensors", 0, ())
    sources = [n for n in given if isinstance(n, fx.Node) and n in info.arrays]
    axis = info.argument("dim", 1, info.node.kwargs.get("axis", 0))
    rank = len(info.out_shape)
    if len(sources) != len(given) or axis % rank != 1 or rank < 3:
        return None
    return Concatenate(sources, [info.shape(source)[1] for source in sources])


def item(info: NodeInfo) -> Op | None:
    """Build an index: a part of each map, or one of the parts that chunk or split returned."""
    source, index = info.node.args
    if isinstance(index, tuple) and isinstance(source, fx.Node) and source in info.arrays:
        rank = len(info.shape(source))
        missing = rank - sum(i is not Ellipsis for i in index)
        full = [j for i in index for j in ([slice(None)] * missing if i is Ellipsis else [i])]
        within = all(isinstance(i, slice) for i in full) and full[:2] == [slice(None)] * 2
        return per_map(homogeneous=True)(info) if within and rank >= 3 else None
    if isinstance(source, fx.Node) and isinstance(index, int) and source.args:
        return _part_of_split(info, source, index)
    return None


def _part_of_split(info: NodeInfo, split: fx.Node, index: int) -> Op | None:
    source = split.args[0]
    name = split.target if isinstance(split.target, str) else getattr(split.target, "__name__", "")
    if name not in ("chunk", "split", "tensor_split") or not isinstance(source, fx.Node):
        return None
    sizes = [tuple(t.shape) for t in split.meta["val"]]
    total = info.shape(source)
    if len(total) < 3 or any(s[0] != total[0] or s[2:] != total[2:] for s in sizes):
        return None
    widths = [s[1] for s in sizes]
    at = index % len(widths)
    return Slice(source, total[1], sum(widths[:at]), widths[at])


def flatten(info: NodeInfo) -> Op | None:
    """Build a flatten of all axes but the samples."""
    source = info.arrays[0] if len(info.arrays) == 1 else None
    if source is None:
        return None
    shape, out_shape = info.shape(source), info.out_shape
    if len(shape) < 3 or len(out_shape) != 2 or out_shape[0] != shape[0]:
        same = out_shape == shape
        return PerMap(source, lambda values, env: values[0], True, True) if same else None
    return Flatten(source)


def reduction(info: NodeInfo) -> Op | None:
    """Build a mean, sum or maximum over the space of a map."""
    source = info.arrays[0]
    dims = info.argument("dim", 1, None)
    axes = dims if isinstance(dims, (tuple, list)) else (dims,)
    rank = len(info.shape(source))
    if any(not isinstance(axis, int) or axis % rank < 2 for axis in axes):
        return None
    return per_map()(info)


def pad(info: NodeInfo) -> Op | None:
    """Build a padding around each map."""
    sides = info.argument("pad", 1, ())
    within = len(sides) <= 2 * (len(info.out_shape) - 2)
    return per_map(homogeneous=True)(info) if within else None


def dense(info: NodeInfo) -> Op | None:
    """Return None, for an operation that draws no random numbers but needs dense arrays."""
    return None


def _is_flattened(info: NodeInfo) -> bool:
    """Return whether a flatten came before, so that a feature is no longer a map."""
    maps_and_features: Any = info.arrays[0].meta.get("maps", (0, 1))
    return bool(maps_and_features[1] > 1)

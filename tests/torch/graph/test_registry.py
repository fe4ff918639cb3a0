"""What the registry records of each operation is true of it, as changed values show.

A new operation has one line in the registry and one in `LINES`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache, reduce
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.node import map_aggregate
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

import mapdrop.torch  # noqa: F401 - it defines torch.ops.mapdrop.drop
from mapdrop.torch.graph.drops import FeatureDropout, MapDrop
from mapdrop.torch.graph.facts import (
    BatchNormTraining,
    ChannelMixing,
    Concatenate,
    DepthwiseConvolution,
    DropFacts,
    Elementwise,
    Facts,
    Flatten,
    Identity,
    PerMap,
    PerMapWithParameters,
    Slice,
)
from mapdrop.torch.graph.graph import caller, operation_name, substituted
from mapdrop.torch.graph.lattice import Bits
from mapdrop.torch.graph.registry import OPERATIONS, may_draw, record_of
from tests.torch.graph.calls import Array, Call, Case, N, channels_of, has_maps

C = 6
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel"),
    pytest.mark.filterwarnings("ignore:dropout2d. Received a 3D input"),
]


def array(name: str, *shape: int) -> Array:
    return Array(name, shape)


def parameter(*shape: int) -> Array:
    return Array(f"p{'x'.join(map(str, shape))}", shape, True)


def expect(kind: type[Facts] | None, homogeneous: bool = False, draws: bool = False) -> Any:
    """Return what makes a case of a call: a target, its arguments and keywords."""

    def case(target: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Case:
        return Case(Call(target, args, kwargs), kind, homogeneous, draws)

    return case


mixing = expect(ChannelMixing)
depthwise = expect(DepthwiseConvolution)
scaled = expect(PerMap, homogeneous=True)
per_map = expect(PerMap)
with_parameters = expect(PerMapWithParameters)
batch_statistics = expect(BatchNormTraining)
combined = expect(Elementwise, homogeneous=True)
product = expect(Elementwise)
identity = expect(Identity, homogeneous=True)
flat = expect(Flatten, homogeneous=True)
side_by_side = expect(Concatenate, homogeneous=True)
part = expect(Slice, homogeneous=True)
dropped = expect(DropFacts, homogeneous=True, draws=True)
dropped_by_seed = expect(DropFacts, homogeneous=True)
dense = expect(None)
random = expect(None, draws=True)

X, Y, Z = (array(name, N, C, 5, 4) for name in "xyz")
LINE, VOLUME = array("line", N, C, 8), array("volume", N, C, 4, 3, 4)
ROW = array("row", N, C)
SEED = array("seed", 2)
W1, W2, W3 = (parameter(8, C, *[3] * d) for d in (1, 2, 3))
T1, T2, T3 = (parameter(C, 8, *[3] * d) for d in (1, 2, 3))
B, SLOPES = parameter(8), parameter(C)
MEAN, VARIANCE = Array("mean", (C,), True), Array("variance", (C,), True)
SCALE, SHIFT = Array("scale", (C,), True), Array("shift", (C,), True)
FLAGS, NUMBERS = array("flags", N, C, 5, 4), array("numbers", N, 5)
SQUARES = parameter(N, C, 5, 4)
TOKENS = array("tokens", 3, N, 4)
ATTENTION = (
    *(TOKENS, TOKENS, TOKENS, 4, 2, parameter(12, 4), parameter(12), None, None, False, 0.0),
    *(parameter(4, 4), parameter(4)),
)
DROP = torch.ops.mapdrop.drop
MAPS = "b c h w -> b c"

LINES: list[Case] = [
    mixing(F.conv1d, LINE, W1, B, padding=1),
    mixing(F.conv2d, X, W2, B, padding=1),
    mixing(F.conv3d, VOLUME, W3, B, padding=1),
    mixing(F.conv_transpose1d, LINE, T1, B),
    mixing(F.conv_transpose2d, X, T2, B),
    mixing(F.conv_transpose3d, VOLUME, T3, B),
    mixing(F.linear, ROW, parameter(8, C), B),
    dropped(F.dropout1d, LINE),
    dropped(F.dropout2d, X),
    dropped(F.dropout3d, VOLUME),
    dropped_by_seed(DROP, X, SEED, None, MAPS, 0.5, ""),
    random(F.dropout, X),
    random(F.alpha_dropout, X, 0.5, True),
    random(F.feature_alpha_dropout, X, 0.5, True),
    with_parameters(F.batch_norm, X, MEAN, VARIANCE, SCALE, SHIFT),
    with_parameters(F.instance_norm, X, weight=SCALE, bias=SHIFT),
    with_parameters(F.prelu, X, SLOPES),
    scaled(F.relu, X),
    scaled(F.leaky_relu, X),
    scaled(torch.abs, X),
    scaled(torch.neg, X),
    scaled("contiguous", X),
    scaled(torch.clone, X),
    scaled(F.max_pool1d, LINE, 2),
    scaled(F.max_pool2d, X, 2),
    scaled(F.max_pool3d, VOLUME, 2),
    scaled(F.avg_pool1d, LINE, 2),
    scaled(F.avg_pool2d, X, 2),
    scaled(F.avg_pool3d, VOLUME, 2),
    scaled(F.adaptive_avg_pool1d, LINE, 2),
    scaled(F.adaptive_avg_pool2d, X, 2),
    scaled(F.adaptive_avg_pool3d, VOLUME, 2),
    scaled(F.adaptive_max_pool1d, LINE, 2),
    scaled(F.adaptive_max_pool2d, X, 2),
    scaled(F.adaptive_max_pool3d, VOLUME, 2),
    scaled(F.interpolate, X, scale_factor=2.0),
    scaled(F.pad, X, (1, 1, 2, 0)),
    per_map(F.sigmoid, X),
    per_map(F.logsigmoid, X),
    per_map(F.tanh, X),
    per_map(F.tanhshrink, X),
    per_map(F.gelu, X),
    per_map(F.silu, X),
    per_map(F.elu, X),
    per_map(F.selu, X),
    per_map(F.celu, X),
    per_map(F.relu6, X),
    per_map(F.mish, X),
    per_map(F.hardswish, X),
    per_map(F.hardsigmoid, X),
    per_map(F.hardtanh, X),
    per_map(F.hardshrink, X),
    per_map(F.softshrink, X),
    per_map(F.softplus, X),
    per_map(F.softsign, X),
    per_map(F.threshold, X, 0.1, 0.0),
    per_map(torch.exp, X),
    per_map(torch.square, X),
    per_map(torch.clamp, X, -0.3, 0.2),
    per_map(torch.sin, X),
    per_map(torch.cos, X),
    per_map(torch.pow, X, 2),
    per_map(torch.mean, X, (2, 3)),
    per_map(torch.sum, X, (2, 3)),
    per_map(torch.amax, X, (2, 3)),
    combined(torch.add, X, Y),
    combined(torch.sub, X, Y),
    combined(torch.maximum, X, Y),
    combined(torch.minimum, X, Y),
    product(torch.mul, X, Y),
    per_map(torch.div, X, 3.0),
    identity("copy_", Call("clone", (X,), {}), Y),
    side_by_side(torch.cat, [X, Y], 1),
    scaled(operator.getitem, X, (slice(None), slice(None), slice(None, None, 2), slice(1, None))),
    flat(torch.flatten, X, 1),
    flat("view", X, N, -1),
    flat(torch.reshape, X, (N, -1)),
    dense(torch.chunk, X, 2, 1),
    dense(torch.split, X, 2, 1),
    dense(torch.tensor_split, X, 2, 1),
    dense(torch.permute, X, (0, 1, 3, 2)),
    dense(torch.transpose, X, 2, 3),
    dense(torch.squeeze, X, 1),
    dense(torch.unsqueeze, X, 2),
    dense("expand", X, N, C, 5, 4),
    dense("to", X, torch.float64),
    dense("float", X),
    dense(torch.empty, N, C),
    dense(torch.zeros, N, C),
    dense(torch.full, (N, C), 2.0),
    dense(torch.arange, N),
    dense(torch.empty_like, X),
    dense(torch.zeros_like, X),
    dense(torch.ones_like, X),
    dense(torch.full_like, X, 2.0),
    dense(torch.ones, N, C),
    dense(getattr, X, "mT"),
    dense(torch.detach, X),
    dense(torch.matmul, X, array("right", N, C, 4, 5)),
    dense(operator.floordiv, X, 2),
    dense(operator.mod, X, 2),
    dense(torch.softmax, X, 1),
    dense(F.group_norm, X, 2),
    dense(F.layer_norm, X, (4,)),
    dense(F.local_response_norm, X, 3),
    dense(F.normalize, X),
    # What has a rule for samples alone.
    dense("half", X),
    dense("bfloat16", X),
    dense("double", X),
    dense("long", X),
    dense("bool", X),
    dense("type_as", X, Y),
    dense(torch.where, FLAGS, X, Y),
    dense(torch.masked_fill, X, FLAGS, 0.5),
    dense(torch.eq, X, Y),
    dense(torch.ne, X, Y),
    dense(torch.lt, X, Y),
    dense(torch.le, X, Y),
    dense(torch.gt, X, Y),
    dense(torch.ge, X, Y),
    dense(torch.logical_and, X, Y),
    dense(torch.logical_or, X, Y),
    dense(torch.logical_not, X),
    dense(operator.and_, FLAGS, FLAGS),
    dense(operator.or_, FLAGS, FLAGS),
    dense(operator.invert, FLAGS),
    dense(torch.sqrt, SQUARES),
    dense(torch.rsqrt, SQUARES),
    dense(torch.reciprocal, X),
    dense(torch.log, SQUARES),
    dense(torch.erf, X),
    dense(torch.floor, X),
    dense(torch.sign, X),
    dense(torch.nan_to_num, X),
    dense(torch.lerp, X, Y, 0.3),
    dense(torch.addcmul, X, Y, Z),
    dense(torch.swapaxes, X, 1, 2),
    dense(torch.swapdims, X, 1, 2),
    dense("unflatten", X, 1, (2, 3)),
    dense("repeat", X, 1, 2, 1, 1),
    dense(torch.select, X, 2, 1),
    dense(torch.unbind, X, 1),
    dense(torch.stack, [X, Y], 1),
    dense(torch.roll, X, (1, 2), (2, 3)),
    dense(torch.flip, X, (2,)),
    dense(F.pixel_shuffle, array("fine", N, 8, 3, 2), 2),
    dense(F.pixel_unshuffle, array("coarse", N, 2, 4, 6), 2),
    dense(torch.bmm, array("left", N, 5, 4), array("rights", N, 4, 3)),
    dense(torch.einsum, "bchw,bcwk->bhk", X, array("factors", N, C, 4, 3)),
    dense(F.scaled_dot_product_attention, X, Y, Z),
    dense(torch.log_softmax, X, 1),
    dense(torch.cumsum, X, 1),
    dense(F.glu, X, 1),
    dense(torch.max, X, 1),
    dense(torch.min, X, 1),
    dense(torch.amin, X, 1),
    dense(torch.var, X, 1),
    dense(torch.std, X, 1),
    dense(torch.linalg.vector_norm, X, 2, 1),
    dense(F.rms_norm, X, (4,)),
    dense(F.embedding, NUMBERS, parameter(9, 3)),
    dense(F.multi_head_attention_forward, *ATTENTION),
]
"""One call of each operation of the registry."""

GATES = array("gates", N, C, 1, 1)
LINE2 = array("line2", N, C, 8)
# Each map has become two features.
PAIRS = Call(torch.flatten, (array("pairs", N, C, 2), 1), {})
ARGUMENTS: list[Case] = [
    # Convolutions.
    mixing(F.conv2d, X, W2, None, 2, 1, 2),
    mixing(F.conv2d, X, W2, stride=(2, 1), padding=(0, 1), dilation=(1, 2), bias=B),
    mixing(F.conv2d, X, parameter(8, C, 2, 3), B, padding="same"),
    mixing(F.conv2d, X, W2, padding="valid"),
    mixing(F.conv2d, X, weight=W2, bias=B),
    mixing(F.conv2d, input=X, weight=W2),
    mixing(F.conv2d, X, parameter(8, C, 2, 3), B, 1, "same"),
    mixing(F.conv_transpose2d, X, T2, B, 2, 1, 0, 1),
    mixing(F.conv_transpose2d, X, T2, B, 2, (1, 0), 1, 1, (1, 2)),
    mixing(F.linear, ROW, weight=parameter(8, C), bias=B),
    mixing(F.linear, Call(torch.flatten, (X, 1), {}), parameter(8, C * 20)),
    depthwise(F.conv2d, X, parameter(C, 1, 3, 3), SHIFT, 1, 1, 1, C),
    depthwise(F.conv2d, X, parameter(C, 1, 3, 3), groups=C),
    dense(F.conv2d, X, parameter(8, 3, 3, 3), groups=2),
    dense(F.conv2d, X, parameter(2 * C, 1, 3, 3), groups=C),
    dense(F.conv_transpose2d, X, parameter(C, 3, 3, 3), groups=2),
    dense(F.linear, X, parameter(3, 4)),
    dense(F.linear, ROW, parameter(C)),
    # Drops.
    dropped(F.dropout2d, LINE, 0.3),
    dropped_by_seed(DROP, X, SEED, None, "b c h w -> b", 0.5, ""),
    dropped_by_seed(DROP, X, SEED, None, "b (g k) h w -> b g", 0.5, "sizes=k:3"),
    dropped_by_seed(DROP, X, SEED, None, MAPS, 0.5, "exact=c"),
    dense(DROP, X, SEED, None, "b c h w -> b c h w", 0.5, ""),
    dense(DROP, X, SEED, None, "b c h w -> b c", 0.5, "scale=sample"),
    random(F.dropout1d, array("one", C, 8)),
    random(F.dropout3d, array("cube", C, 4, 3, 4)),
    *[
        identity(drop, X, *given)
        for drop in (F.dropout, F.alpha_dropout, F.feature_alpha_dropout, F.dropout2d)
        for given in ((0.5, False), (0.0, True))
    ],
    identity(F.dropout, X, training=False),
    # Norms, and PReLU.
    with_parameters(F.batch_norm, X, MEAN, VARIANCE, training=False),
    with_parameters(F.batch_norm, ROW, MEAN, VARIANCE, SCALE),
    batch_statistics(F.batch_norm, X, None, None, SCALE, SHIFT, True),
    batch_statistics(F.batch_norm, X, MEAN, VARIANCE, SCALE, SHIFT, True),
    batch_statistics(
        F.batch_norm, X, bias=SHIFT, running_mean=None, running_var=None, training=True
    ),
    with_parameters(F.instance_norm, X),
    with_parameters(F.instance_norm, X, None, None, SCALE),
    with_parameters(F.instance_norm, X, None, None, SCALE, SHIFT),
    dense(F.instance_norm, X, MEAN, VARIANCE),
    dense(F.instance_norm, X, MEAN, VARIANCE, use_input_stats=False),
    with_parameters(torch.prelu, X, parameter(1)),
    with_parameters(F.prelu, X, array("slopes", C)),
    with_parameters(F.batch_norm, X, array("centre", C), VARIANCE),
    with_parameters(F.instance_norm, X, weight=array("gain", C)),
    dense(F.batch_norm, PAIRS, parameter(2 * C), Array("spread", (2 * C,), True)),
    dense(F.prelu, PAIRS, parameter(1)),
    with_parameters(F.instance_norm, LINE),
    # Functions of each map. What becomes of zeros depends on their numbers.
    per_map(F.threshold, X, 0.1, 3.0),
    per_map(torch.clamp, X, min=0.1),
    per_map(F.pad, X, (1, 1, 1, 1), value=1.0),
    scaled(F.pad, LINE, (1, 1), mode="reflect"),
    scaled(F.interpolate, X, scale_factor=2.0, mode="bilinear"),
    scaled(F.avg_pool2d, X, 3, stride=1, padding=1),
    scaled(F.leaky_relu, X, negative_slope=0.1),
    per_map(torch.mean, X, dim=[-1, -2], keepdim=True),
    per_map(torch.sum, X, 3),
    per_map("amax", X, dim=-1),
    per_map(operator.pow, 2.0, X),
    scaled(operator.getitem, X, (Ellipsis, slice(1, None))),
    scaled(operator.getitem, LINE, (slice(None), slice(None), slice(1, None))),
    dense(operator.getitem, ROW, (slice(None), slice(None))),
    scaled(F.pad, VOLUME, (1, 1, 1, 1, 1, 1)),
    # Functions of several arrays, and of an array and a number.
    combined(torch.add, X, Y, alpha=3),
    combined(torch.add, LINE, LINE2),
    combined(operator.add, X, GATES),
    product(operator.add, X, parameter(1, C, 1, 1)),
    product(operator.sub, array("light", N, 1, 5, 4), X),
    product(operator.mul, X, GATES),
    product(operator.mul, X, parameter(C, 1, 1)),
    product(operator.mul, X, array("attention", N, 1, 5, 4)),
    product(torch.maximum, X, parameter(1, 1, 5, 4)),
    scaled(operator.add, X, X),
    per_map(operator.mul, X, X),
    per_map(operator.add, X, 1.5),
    per_map(operator.sub, 1.5, X),
    per_map(operator.mul, -2.5, X),
    dense(operator.truediv, X, Y),
    dense(operator.truediv, 1.0, X),
    dense(torch.pow, X, Y),
    dense(torch.clamp, X, Y),
    dense(torch.clamp, X, parameter(4)),
    dense("copy_", Call("clone", (X,), {}), FLAGS),
    dense("copy_", Call("clone", (X,), {}), GATES),
    dense("copy_", Call("clone", (X,), {}), other=Y),
    dense("copy_", Call("clone", (ROW,), {}), parameter(N, C)),
    dense(operator.add, ROW, array("other", N, C)),
    # What moves maps.
    side_by_side(torch.cat, (X, Y, X), dim=-3),
    side_by_side(torch.cat, tensors=[X, array("more", N, 2, 5, 4)], dim=1),
    side_by_side(torch.cat, [X, Y], axis=1),
    part(operator.getitem, Call(torch.chunk, (X, 3, 1), {}), 1),
    part(operator.getitem, Call(torch.chunk, (LINE, 3, 1), {}), 1),
    part(operator.getitem, Call("chunk", (X,), {"chunks": 2, "dim": -3}), -1),
    part(operator.getitem, Call(torch.split, (X, [1, 5], 1), {}), 1),
    part(operator.getitem, Call("tensor_split", (X, (2, 3), 1), {}), 2),
    flat("flatten", X, start_dim=1),
    flat("flatten", LINE, 1),
    side_by_side(torch.cat, [LINE, array("longer", N, 2, 8)], 1),
    flat("reshape", X, (N, C * 20)),
    identity("view", X, N, C, 5, 4),
    identity("reshape", ROW, N, -1),
    # Attention, with a dropout of its own or without.
    random(F.scaled_dot_product_attention, X, Y, Z, None, 0.5),
    random(F.multi_head_attention_forward, *ATTENTION[:10], 0.5, *ATTENTION[11:]),
    dense(F.multi_head_attention_forward, *ATTENTION[:10], 0.5, *ATTENTION[11:], False),
    # A parameter is no array of maps.
    dense(operator.getitem, Call(torch.chunk, (parameter(8, C), 2), {}), 1),
    dense(torch.mean, parameter(N, C), 1),
    dense(torch.flatten, parameter(N, C), 0),
    dense(F.batch_norm, parameter(N, C), None, None, None, None, True),
    dense(F.prelu, parameter(N, C), parameter(1)),
]
"""Other arguments, on which the facts depend."""

# All axes are of one size, so that a wrong one has the right size.
S, R = array("square", N, N, N, N), array("root", N, N, N, N)
FACES, EDGES = array("faces", N, N, N), array("edges", N, N)
MIXED: list[Case] = [
    dense(torch.mean, S, 1),
    dense(torch.mean, S, 0, keepdim=True),
    dense(torch.mean, S, dim=1, keepdim=True),
    dense("mean", S),
    dense("mean", S, axis=1),
    dense("mean", S, ()),
    dense(torch.sum, S, (-3,)),
    dense(torch.sum, S, [1, 2]),
    dense(torch.sum, FACES, -2),
    dense(torch.amax, S, 1),
    dense(torch.amax, S, (), keepdim=True),
    dense("view", S, N, N * N, N),
    dense("view", FACES, N, N, N, 1),
    dense("view", S, torch.int64),
    dense("reshape", S, N * N, N * N),
    dense("reshape", S, N * N, -1),
    dense("flatten", S, 2),
    dense(torch.flatten, S, 0, 1),
    dense(torch.cat, [S, R], 0),
    dense(torch.cat, [S, R], 2),
    dense(torch.cat, [S, R], dim=-1),
    dense(torch.cat, [S, R]),
    dense(torch.cat, [EDGES, EDGES], 1),
    dense(torch.cat, [Array("nothing", (0,)), S], 1),
    dense(torch.cat, Call(torch.chunk, (X, 2, 1), {}), 1),
    dense(torch.cat, Call(torch.chunk, (S, 2, 2), {}), 2),
    dense(F.pad, S, (0, 0, 0, 0, 1, -1)),
    dense(F.pad, S, pad=(0, 0, 0, 0, 0, 0, 1, -1)),
    dense(operator.getitem, Call("chunk", (S, 2, 2), {}), 0),
    dense(operator.getitem, Call("chunk", (S, 2), {}), 0),
    dense(operator.getitem, Call("chunk", (EDGES, 2, 1), {}), 0),
    dense(operator.getitem, (X, Y), 1),
    dense(torch.relu, array("vector", N)),
    part(operator.getitem, Call("chunk", (S, 1, 0), {}), 0),
    dense(operator.getitem, S, 0),
    dense(operator.getitem, S, slice(1, None)),
    dense(operator.getitem, S, (slice(None), slice(1, None))),
    dense(operator.getitem, S, (slice(None), slice(None), 0)),
    dense(operator.getitem, S, (slice(None), slice(None), None)),
    dense(operator.getitem, S, [0, 2]),
    dense(operator.getitem, S, (slice(None), None, slice(None), 0)),
    dense(operator.getitem, S, (Ellipsis, slice(1, None), slice(None), slice(None))),
    product(operator.mul, S, array("column", N)),
    product(operator.mul, S, EDGES),
    product(operator.add, S, FACES),
    product(operator.mul, S, array("samples", N, 1, 1, 1)),
    product(torch.add, FACES, S),
    # Layers that take the axis of the samples for that of the channels.
    dense(F.max_pool2d, LINE, 3, 1, 1),
    dense(F.avg_pool2d, LINE, 3, 1, 1),
    dense(F.adaptive_avg_pool2d, LINE, (C, 4)),
    dense(F.adaptive_max_pool2d, LINE, (C, 4)),
    dense(F.max_pool3d, X, 3, 1, 1),
    dense(F.max_pool1d, ROW, 3, 1, 1),
    dense(F.avg_pool1d, ROW, 3, 1, 1),
    dense(F.pad, LINE, (0, 0, 1, -1)),
    dense(F.conv2d, LINE, parameter(N, N, 3, 3), padding=1),
    dense(F.conv1d, ROW, parameter(N, N, 3), padding=1),
    dense(F.conv_transpose2d, LINE, parameter(N, N, 3, 3), padding=1),
    # Other functions of the same name, with arguments in another order.
    with_parameters(torch.batch_norm, X, SCALE, SHIFT, MEAN, VARIANCE, False, 0.1, 1e-5, True),
    dense(torch.instance_norm, X, SCALE, SHIFT, None, None, True, 0.1, 1e-5, True),
    dense(torch.instance_norm, X, None, None, MEAN, VARIANCE, False, 0.1, 1e-5, True),
    dense(torch.instance_norm, ROW, None, None, None, None, True, 0.1, 1e-5, True),
]
"""Arguments by which maps are mixed, or seem to be."""


def by_map(values: Tensor, bits: Bits) -> Tensor:
    """Return the values of the maps in a set: (maps, values of each)."""
    return values.reshape(*bits.shape, -1)[torch.from_numpy(bits)]


def with_maps(values: Tensor, bits: Bits, new: Any) -> Tensor:
    """Return a copy with something else in the maps of a set."""
    changed = values.clone()
    changed.view(*bits.shape, -1)[torch.from_numpy(bits)] = new
    return changed


@cache
def some_sets(channels: int) -> list[Bits]:
    """Return sets of maps: all, none, one map, the same of all samples, and drawn ones."""
    generator = np.random.default_rng(channels)
    one = np.zeros((N, channels), bool)
    one[1, channels // 2] = True
    row = np.tile(generator.random(channels) < 0.5, (N, 1))
    drawn = [generator.random((N, channels)) < share for share in (0.2, 0.5, 0.5, 0.8)]
    return [np.ones_like(one), np.zeros_like(one), one, row, *drawn]


def is_spread(case: Case, array: Array) -> bool:
    """Return whether a map of an input is used for several maps of the result."""
    full = getattr(case.facts, "full", [True] * len(case.sources))
    return not full[case.sources.index(array)]


def zeroed(case: Case, sets: Callable[[int, int], Bits]) -> tuple[Bits, Bits]:
    """Zero the inputs outside sets. Return which maps may be non-zero, and which are.

    `sets` returns the set of the i-th input, which has some channels.
    """
    arrays = [array for array in dict.fromkeys(case.sources) if has_maps(array)]
    inputs = {array: sets(i, channels_of(array)) for i, array in enumerate(arrays)}
    changed = {array: with_maps(case.inputs[array], ~bits, 0.0) for array, bits in inputs.items()}
    result = case.result(changed).reshape(N, case.channels, -1)
    return case.nonzero(inputs), (result != 0).any(dim=2).numpy()


EVERY = [*LINES, *ARGUMENTS, *MIXED]
KNOWN = [case for case in EVERY if case.kind is not None]


def of_kind(*kinds: type[Facts]) -> list[Case]:
    return [case for case in KNOWN if case.kind in kinds]


def check_random_numbers(case: Case) -> None:
    """Raise AssertionError unless it draws random numbers where it is said to, and only there."""
    torch.default_generator.manual_seed(0)
    before = torch.get_rng_state()
    case.call.value(case.inputs)
    draws = not torch.equal(torch.get_rng_state(), before)
    assert draws == case.draws
    drawn_ahead = isinstance(case.facts, DropFacts)
    assert may_draw(case.node, has_facts=case.facts is not None and not drawn_ahead) == draws


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_the_facts_are_the_expected_ones(case: Case) -> None:
    assert record_of(case.node) is OPERATIONS[case.node.operation]
    assert type(case.facts) is (case.kind or type(None))
    assert case.facts is None or case.facts.homogeneous == case.homogeneous


@pytest.mark.parametrize("case", KNOWN, ids=str)
def test_maps_that_are_not_live_may_hold_anything(case: Case) -> None:
    own_drop = isinstance(case.facts, DropFacts) and isinstance(case.facts.drop, FeatureDropout)
    others = (-77.0,) if own_drop else (-77.0, torch.nan)  # PyTorch drops NaN to NaN.
    want = case.result()
    for kept in some_sets(case.channels):
        for other in others:
            changed = {
                array: with_maps(case.inputs[array], ~live, other)
                for array, live in case.live(kept).items()
                if has_maps(array)
            }
            assert torch.equal(by_map(case.result(changed), kept), by_map(want, kept))


@pytest.mark.parametrize("case", KNOWN, ids=str)
def test_every_live_map_is_read(case: Case) -> None:
    every, _, one, *_, half, _ = some_sets(case.channels)
    for kept in (every, one, half):
        want = by_map(case.result(), kept)
        for array, live in case.live(kept).items():
            if not has_maps(array) or (is_spread(case, array) and kept is not every):
                continue
            assert kept is not every or live.any()
            for at in np.argwhere(live):
                one_map = np.zeros_like(live)
                one_map[tuple(at)] = True
                values = case.inputs[array]
                changed = with_maps(values, one_map, by_map(values.flip(0) * -9, one_map))
                assert not torch.equal(by_map(case.result({array: changed}), kept), want), at


@pytest.mark.parametrize("case", KNOWN, ids=str)
def test_a_result_is_zero_outside_its_nonzero_maps(case: Case) -> None:
    for k in range(len(some_sets(C))):

        def another_for_each_input(i: int, channels: int, k: int = k) -> Bits:
            return some_sets(channels)[k - i]

        may_be, are = zeroed(case, another_for_each_input)
        assert not (are & ~may_be).any()


@pytest.mark.parametrize("case", KNOWN, ids=str)
def test_every_nonzero_map_is_not_zero(case: Case) -> None:
    def some_of_each_sample(i: int, channels: int) -> Bits:
        own = np.eye(channels, dtype=bool)
        found: Bits = own[np.arange(N) % channels] | own[i % channels]
        return found

    may_be, are = zeroed(case, some_of_each_sample)
    assert not (may_be & ~are).any()


@pytest.mark.parametrize("case", KNOWN, ids=str)
def test_twice_the_input_is_twice_the_result_of_what_is_homogeneous(case: Case) -> None:
    doubled = {array: case.inputs[array] * 2 for array in case.sources}
    is_twice = torch.equal(case.result(doubled), case.result() * 2)
    assert is_twice or not case.facts.homogeneous


def test_a_part_without_values_is_a_map_of_zeros() -> None:
    facts = scaled(operator.getitem, X, (slice(None), slice(None), slice(9, None))).facts
    assert (facts.keeps_zeros, facts.homogeneous) == (True, True)


PARAMETERS = of_kind(PerMapWithParameters, DepthwiseConvolution, BatchNormTraining)


@pytest.mark.parametrize("case", PARAMETERS, ids=str)
def test_a_map_reads_its_own_entries_of_the_parameters(case: Case) -> None:
    own = [p for p in case.facts.parameters if p is not None]
    assert {case.array_of(p) for p in own} == case.inputs.keys() - set(case.sources)
    given = [p for p in own if p.shape[0] > 1]
    want = case.result()
    for kept in some_sets(case.channels):
        other = torch.from_numpy(~kept.any(axis=0))
        changed = {case.array_of(p): case.inputs[case.array_of(p)].clone() for p in given}
        for values in changed.values():
            values[other] = torch.nan
        assert torch.equal(by_map(case.result(changed), kept), by_map(want, kept))


@pytest.mark.parametrize("case", of_kind(ChannelMixing), ids=str)
def test_the_settings_are_those_of_the_call(case: Case) -> None:
    facts = case.facts
    (x,) = (case.inputs[array] for array in case.sources)
    weight = case.inputs[case.array_of(facts.weight)]
    bias = None if facts.bias is None else case.inputs[case.array_of(facts.bias)]
    # Padded first only where the sides differ, as for an even kernel.
    assert (facts.pad is None) != ("p8x6x2x3" in str(case))
    padded = F.pad(x, facts.pad) if facts.pad else x
    assert (facts.inputs, facts.outputs) == (x.shape[1], case.result().shape[1])
    assert case.node.shape[2:] == facts.settings.out_space(padded.shape[2:], facts.kernel)
    torch.testing.assert_close(
        facts.settings.forward(padded, weight, bias), case.result(), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_random_numbers_are_drawn_where_the_record_says_so(case: Case) -> None:
    check_random_numbers(case)


# --- Every operation, by every function that shares its record.


# No model calls it: test_replicas.py has its tests, and tests/torch/predict.
OUR_OWN = ["replicated"]


def untested(table: dict[str, Any]) -> list[str]:
    tested = [*(case.node.operation for case in LINES), *OUR_OWN]
    assert len(tested) == len(set(tested))
    return sorted(table.keys() - set(tested))


def test_every_operation_has_a_line() -> None:
    assert untested(OPERATIONS) == []


def test_an_operation_without_a_line_is_noticed() -> None:
    assert untested({**OPERATIONS, "bilinear": None}) == ["bilinear"]


@cache
def functions() -> dict[str, list[Any]]:
    """Return the functions of PyTorch and Python, and the methods, that share each record."""
    found: dict[str, list[Any]] = {name: [] for name in OPERATIONS}
    for space in (F, torch, operator, Tensor):
        for attribute in sorted(vars(space) if space is operator else dir(space)):
            target = getattr(space, attribute)
            known = found.get(operation_name(target), [])
            if callable(target) and target not in known:
                known.append(attribute if space is Tensor else target)
    return found


def forms(line: Case) -> list[Case]:
    """Return a line's call by every function that takes its arguments and has its result.

    Those that overwrite their input get a copy.
    """

    def copied(leaf: Any) -> Any:
        is_input = isinstance(leaf, Array) and not leaf.is_parameter
        return Call("clone", (leaf,), {}) if is_input else leaf

    found = []
    for target in functions()[line.node.operation]:
        for more in ({}, {"inplace": True}) if _has_inplace(target) else ({},):
            call = Call(target, map_aggregate(line.call.args, copied), {**line.call.kwargs, **more})
            form = replace(line, call=call)
            try:
                found += [form] if is_result(form.result(), line) else []
            except (TypeError, ValueError, RuntimeError):
                continue
    return found


def _has_inplace(target: Any) -> bool:
    try:
        return "inplace" in signature(target).parameters
    except (TypeError, ValueError):  # Of many functions written in C.
        return False


def is_result(found: Any, line: Case) -> bool:
    """Return whether what was found is a line's result."""
    wanted = line.result()
    if line.node.operation.startswith("empty"):  # The values are whatever lay in memory.
        return bool((found.shape, found.dtype) == (wanted.shape, wanted.dtype))
    return same(found, wanted)


def same(a: Any, b: Any) -> bool:
    if isinstance(b, tuple):
        return all(map(same, a, b))
    return torch.equal(a, b) if isinstance(b, Tensor) else bool(a == b)


FORMS = {f"{form}": (line, form) for line in LINES for form in forms(line)}


def contents(facts: Facts | None) -> Any:
    """Return what facts say, with shapes in the place of nodes."""
    said = {f.name: getattr(facts, f.name) for f in fields(facts)} if facts else {}
    said = {k: v for k, v in said.items() if not isinstance(v, MapDrop)}
    return type(facts), substituted(said, lambda node: node.shape)


@pytest.mark.parametrize(("line", "form"), FORMS.values(), ids=FORMS)
def test_all_forms_of_a_call_have_the_same_facts(line: Case, form: Case) -> None:
    assert form.node.operation == line.node.operation
    assert contents(form.facts) == contents(line.facts)
    check_random_numbers(form)


# Of a copy over an array there is no other version: it is never called with other values.
CALLED = {name: forms for name, forms in FORMS.items() if forms[0].node.operation != "copy"}


@pytest.mark.parametrize(("line", "form"), CALLED.values(), ids=CALLED)
def test_a_form_called_with_other_values_leaves_them_alone(line: Case, form: Case) -> None:
    values = {node: line.inputs[form.array_of(node)].clone() for node in form.node.inputs}
    torch.default_generator.manual_seed(0)
    assert is_result(caller(form.node)(values), line)
    assert all(torch.equal(v, line.inputs[form.array_of(n)]) for n, v in values.items())


SPELLINGS = {
    "relu": [
        *("F.relu(X)", "F.relu(X, inplace=True)", "F.relu_(X)", "torch.relu(X)"),
        *("Tensor.relu(X)", "Tensor.relu_(X)"),
    ],
    "add": [
        *("torch.add(X, Y)", "operator.add(X, Y)", "operator.iadd(X, Y)"),
        *("Tensor.add(X, Y)", "Tensor.add_(X, Y)"),
    ],
    "cat": ["torch.cat([X, Y], 1)", "torch.concat([X, Y], 1)"],
    "max_pool2d": ["F.max_pool2d(X, 2)", "torch.max_pool2d(X, 2)"],
}


@pytest.mark.parametrize("operation", SPELLINGS)
def test_the_forms_are_found(operation: str) -> None:
    copies = {"X": "Tensor.clone(x)", "Y": "Tensor.clone(y)"}
    expected = [reduce(lambda s, c: s.replace(*c), copies.items(), f) for f in SPELLINGS[operation]]
    found = [name for name, (line, _) in FORMS.items() if line.node.operation == operation]
    assert sorted(found) == sorted(expected)

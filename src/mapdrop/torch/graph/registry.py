"""The registry: one record for each known operation. Add a line to extend it.

A record says what is true of an operation by itself: how it treats the maps of its input, and
whether a factor can be applied after it. An operation without a record reads everything, and may
draw random numbers.
"""

from __future__ import annotations

from dataclasses import replace

from mapdrop.torch.graph import rules
from mapdrop.torch.graph import sample_rules as samples
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.lattice import intersection, union
from mapdrop.torch.graph.record import Record


def _always(node: Node) -> bool:
    return True


def _attention_dropout(node: Node) -> bool:
    return bool(node.argument("dropout_p", 4, 0.0) > 0)


def _layer_dropout(node: Node) -> bool:
    return bool(node.argument("training", 13, True) and node.argument("dropout_p", 10) > 0)


def _draws_in_each_replica(node: Node) -> bool:
    one: Node = node.target.node  # type: ignore[union-attr]
    return may_draw(one, False)


_PER_MAP = Record(rules.per_map, samples=samples.broadcast)
_SCALES = replace(_PER_MAP, homogeneous=True, keeps_zeros=True)
_POOL = Record(rules.per_map, homogeneous=True, samples=samples.first_axis)
_SUM = Record(rules.elementwise, homogeneous=True, combine=union, samples=samples.broadcast)
_REDUCED = Record(rules.reduction, samples=samples.reduced)
_SHAPED = Record(rules.flatten, samples=samples.reshaped, keeps_zeros=True)
_CONVOLUTION = Record(rules.convolution, samples=samples.first_axis)
_TRANSPOSED = Record(rules.transposed_convolution, samples=samples.first_axis)
_DROP = Record(rules.feature_dropout, draws=_always, samples=samples.first_axis, keeps_zeros=True)
_VALUES_DROPPED = Record(
    rules.idle_dropout, draws=_always, samples=samples.broadcast, keeps_zeros=True
)
_DENSE = Record(rules.dense)
_VALUES = Record(rules.dense, samples=samples.broadcast)
_CAST = Record(rules.dense, samples=samples.alone, keeps_zeros=True)
_RESHAPED = Record(rules.dense, samples=samples.reshaped, keeps_zeros=True)
_SPLIT = Record(rules.dense, samples=samples.split)
_TRANSPOSITION = Record(rules.dense, samples=samples.transposed, keeps_zeros=True)
_NORMALIZED = Record(rules.dense, samples=samples.normalized)
_MATRICES = Record(rules.dense, samples=samples.matrix_product)
_REDUCTION = Record(rules.dense, samples=samples.reduced)
_ALONG = Record(rules.dense, samples=samples.along("dim", 1))
_IMAGES = Record(rules.dense, samples=samples.first_axis)

OPERATIONS: dict[str, Record] = {
    "conv1d": _CONVOLUTION,
    "conv2d": _CONVOLUTION,
    "conv3d": _CONVOLUTION,
    "conv_transpose1d": _TRANSPOSED,
    "conv_transpose2d": _TRANSPOSED,
    "conv_transpose3d": _TRANSPOSED,
    "linear": Record(rules.linear, samples=samples.last_axis),
    "dropout1d": _DROP,
    "dropout2d": _DROP,
    "dropout3d": _DROP,
    "mapdrop.drop": Record(  # Its seed was drawn before.
        rules.pattern_drop, samples=samples.own_drop, keeps_zeros=True
    ),
    "dropout": _VALUES_DROPPED,
    "alpha_dropout": replace(_VALUES_DROPPED, keeps_zeros=False),
    "feature_alpha_dropout": Record(rules.idle_dropout, draws=_always),
    "replicated": Record(
        rules.replicated, draws=_draws_in_each_replica, samples=samples.replicated
    ),
    "batch_norm": Record(rules.batch_norm, samples=samples.per_batch_statistics),
    "instance_norm": Record(rules.instance_norm, samples=samples.own_statistics),
    "prelu": Record(rules.prelu, samples=samples.first_axis),
    # Functions of each map, which keep a factor.
    "relu": _SCALES,
    "leaky_relu": _SCALES,
    "abs": _SCALES,
    "neg": _SCALES,
    "contiguous": _SCALES,
    "clone": _SCALES,
    "max_pool1d": _POOL,
    "max_pool2d": _POOL,
    "max_pool3d": _POOL,
    "avg_pool1d": _POOL,
    "avg_pool2d": _POOL,
    "avg_pool3d": _POOL,
    "adaptive_avg_pool1d": _POOL,
    "adaptive_avg_pool2d": _POOL,
    "adaptive_avg_pool3d": _POOL,
    "adaptive_max_pool1d": _POOL,
    "adaptive_max_pool2d": _POOL,
    "adaptive_max_pool3d": _POOL,
    "interpolate": _POOL,
    "pad": Record(rules.pad, homogeneous=True, samples=samples.padded),
    # Functions of each map, which do not.
    "sigmoid": _PER_MAP,
    "logsigmoid": _PER_MAP,
    "tanh": _PER_MAP,
    "tanhshrink": _PER_MAP,
    "gelu": _PER_MAP,
    "silu": _PER_MAP,
    "elu": _PER_MAP,
    "selu": _PER_MAP,
    "celu": _PER_MAP,
    "relu6": _PER_MAP,
    "mish": _PER_MAP,
    "hardswish": _PER_MAP,
    "hardsigmoid": _PER_MAP,
    "hardtanh": _PER_MAP,
    "hardshrink": _PER_MAP,
    "softshrink": _PER_MAP,
    "softplus": _PER_MAP,
    "softsign": _PER_MAP,
    "threshold": _PER_MAP,
    "exp": _PER_MAP,
    "square": _PER_MAP,
    "clamp": _PER_MAP,
    "sin": _PER_MAP,
    "cos": _PER_MAP,
    "pow": _PER_MAP,
    "mean": _REDUCED,
    "sum": _REDUCED,
    "amax": _REDUCED,
    # Functions of several arrays.
    "add": _SUM,
    "sub": _SUM,
    "maximum": _SUM,
    "minimum": _SUM,
    "mul": Record(
        rules.elementwise, combine=intersection, samples=samples.broadcast, keeps_zeros=True
    ),
    "div": Record(rules.elementwise, samples=samples.broadcast),
    "copy": Record(rules.copy),
    # What moves maps.
    "cat": Record(rules.concatenate, samples=samples.concatenated),
    "getitem": Record(rules.item, homogeneous=True, samples=samples.item, keeps_zeros=True),
    "flatten": _SHAPED,
    "view": _SHAPED,
    "reshape": _SHAPED,
    # What mixes maps, but draws no random numbers: values one by one,
    "to": _CAST,
    "float": _CAST,
    "half": _CAST,
    "bfloat16": _CAST,
    "double": _CAST,
    "type_as": _CAST,
    "long": _CAST,
    "bool": _CAST,
    "detach": _CAST,
    "where": _VALUES,
    "masked_fill": _VALUES,
    "floordiv": _VALUES,
    "mod": _VALUES,
    "eq": _VALUES,
    "ne": _VALUES,
    "lt": _VALUES,
    "le": _VALUES,
    "gt": _VALUES,
    "ge": _VALUES,
    "logical_and": _VALUES,
    "logical_or": _VALUES,
    "logical_not": _VALUES,
    "and": _VALUES,
    "or": _VALUES,
    "invert": _VALUES,
    "sqrt": _VALUES,
    "rsqrt": _VALUES,
    "reciprocal": _VALUES,
    "log": _VALUES,
    "erf": _VALUES,
    "floor": _VALUES,
    "sign": _VALUES,
    "nan_to_num": _VALUES,
    "lerp": _VALUES,
    "addcmul": _VALUES,
    # what moves values,
    "permute": Record(rules.dense, samples=samples.permuted, keeps_zeros=True),
    "transpose": _TRANSPOSITION,
    "swapaxes": _TRANSPOSITION,
    "swapdims": _TRANSPOSITION,
    "squeeze": _RESHAPED,
    "unsqueeze": _RESHAPED,
    "unflatten": _RESHAPED,
    "expand": Record(rules.dense, samples=samples.expanded),
    "repeat": Record(rules.dense, samples=samples.repeated),
    "select": Record(rules.dense, samples=samples.selected),
    "chunk": _SPLIT,
    "split": _SPLIT,
    "tensor_split": _SPLIT,
    "unbind": Record(rules.dense, samples=samples.unbound),
    "stack": Record(rules.dense, samples=samples.stacked),
    "roll": Record(rules.dense, samples=samples.along("dims", 2)),
    "flip": Record(rules.dense, samples=samples.flipped),
    "pixel_shuffle": _IMAGES,
    "pixel_unshuffle": _IMAGES,
    # what is computed from several values,
    "matmul": _MATRICES,
    "bmm": _MATRICES,
    "einsum": Record(rules.dense, samples=samples.sum_of_products),
    "scaled_dot_product_attention": Record(
        rules.dense, samples=samples.attention, draws=_attention_dropout
    ),
    "multi_head_attention_forward": Record(
        rules.dense, samples=samples.attention_layer, draws=_layer_dropout
    ),
    "softmax": _ALONG,
    "log_softmax": _ALONG,
    "cumsum": _ALONG,
    "normalize": Record(rules.dense, samples=samples.along("dim", 2, 1)),
    "glu": Record(rules.dense, samples=samples.along("dim", 1, -1)),
    "max": _REDUCTION,
    "min": _REDUCTION,
    "amin": _REDUCTION,
    "var": _REDUCTION,
    "std": _REDUCTION,
    "linalg_vector_norm": _REDUCTION,
    "layer_norm": _NORMALIZED,
    "rms_norm": _NORMALIZED,
    "group_norm": Record(rules.dense, samples=samples.first_axis),
    "local_response_norm": _IMAGES,
    "embedding": Record(rules.dense, samples=samples.looked_up),
    # and what has no samples.
    "empty": _DENSE,
    "zeros": _DENSE,
    "ones": _DENSE,
    "full": _DENSE,
    "arange": _DENSE,
    "empty_like": _DENSE,
    "zeros_like": _DENSE,
    "ones_like": _DENSE,
    "full_like": _DENSE,
    "getattr": Record(rules.dense, samples=samples.attribute, keeps_zeros=True),
}


def record_of(node: Node) -> Record | None:
    """Return what is known of a node's operation; None if nothing is."""
    return OPERATIONS.get(node.operation)


def may_draw(node: Node, has_facts: bool) -> bool:
    """Return whether a call may draw random numbers, where nobody draws them for it."""
    if node.target is None or has_facts:
        return False
    record = record_of(node)
    return record.draws(node) if record is not None else node.value is not None

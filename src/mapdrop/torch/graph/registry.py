"""The registry: one record for each known operation. Add a line to extend it.

A record says what is true of an operation by itself: how it treats the maps of its input, and
whether a factor can be applied after it. An operation without a record reads everything, and may
draw random numbers.
"""

from __future__ import annotations

from mapdrop.torch.graph import rules
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.lattice import intersection, union
from mapdrop.torch.graph.record import Record

_PER_MAP = Record(rules.per_map)
_SCALES = Record(rules.per_map, homogeneous=True)
_SUM = Record(rules.elementwise, homogeneous=True, combine=union)
_REDUCED = Record(rules.reduction)
_SHAPED = Record(rules.flatten, homogeneous=True)
_CONVOLUTION = Record(rules.convolution)
_TRANSPOSED = Record(rules.transposed_convolution)
_DROP = Record(rules.feature_dropout, homogeneous=True, draws=True)
_VALUES_DROPPED = Record(rules.idle_dropout, homogeneous=True, draws=True)
_DENSE = Record(rules.dense)

OPERATIONS: dict[str, Record] = {
    "conv1d": _CONVOLUTION,
    "conv2d": _CONVOLUTION,
    "conv3d": _CONVOLUTION,
    "conv_transpose1d": _TRANSPOSED,
    "conv_transpose2d": _TRANSPOSED,
    "conv_transpose3d": _TRANSPOSED,
    "linear": Record(rules.linear),
    "dropout1d": _DROP,
    "dropout2d": _DROP,
    "dropout3d": _DROP,
    "mapdrop.drop": Record(rules.pattern_drop, homogeneous=True),  # Its seed was drawn before.
    "dropout": _VALUES_DROPPED,
    "alpha_dropout": _VALUES_DROPPED,
    "feature_alpha_dropout": _VALUES_DROPPED,
    "batch_norm": Record(rules.batch_norm),
    "instance_norm": Record(rules.instance_norm),
    "prelu": Record(rules.prelu),
    # Functions of each map, which keep a factor.
    "relu": _SCALES,
    "leaky_relu": _SCALES,
    "abs": _SCALES,
    "neg": _SCALES,
    "contiguous": _SCALES,
    "clone": _SCALES,
    "max_pool1d": _SCALES,
    "max_pool2d": _SCALES,
    "max_pool3d": _SCALES,
    "avg_pool1d": _SCALES,
    "avg_pool2d": _SCALES,
    "avg_pool3d": _SCALES,
    "adaptive_avg_pool1d": _SCALES,
    "adaptive_avg_pool2d": _SCALES,
    "adaptive_avg_pool3d": _SCALES,
    "adaptive_max_pool1d": _SCALES,
    "adaptive_max_pool2d": _SCALES,
    "adaptive_max_pool3d": _SCALES,
    "interpolate": _SCALES,
    "pad": Record(rules.pad, homogeneous=True),
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
    "mul": Record(rules.elementwise, combine=intersection),
    "div": Record(rules.elementwise),
    "copy": Record(rules.copy, homogeneous=True),
    # What moves maps.
    "cat": Record(rules.concatenate, homogeneous=True),
    "getitem": Record(rules.item, homogeneous=True),
    "flatten": _SHAPED,
    "view": _SHAPED,
    "reshape": _SHAPED,
    # What mixes everything, but draws no random numbers.
    "chunk": _DENSE,
    "split": _DENSE,
    "tensor_split": _DENSE,
    "permute": _DENSE,
    "transpose": _DENSE,
    "squeeze": _DENSE,
    "unsqueeze": _DENSE,
    "expand": _DENSE,
    "to": _DENSE,
    "float": _DENSE,
    "empty": _DENSE,
    "zeros": _DENSE,
    "ones": _DENSE,
    "full": _DENSE,
    "arange": _DENSE,
    "empty_like": _DENSE,
    "zeros_like": _DENSE,
    "ones_like": _DENSE,
    "full_like": _DENSE,
    "getattr": _DENSE,
    "detach": _DENSE,
    "matmul": _DENSE,
    "floordiv": _DENSE,
    "mod": _DENSE,
    "softmax": _DENSE,
    "group_norm": _DENSE,
    "layer_norm": _DENSE,
    "local_response_norm": _DENSE,
    "normalize": _DENSE,
}


def record_of(node: Node) -> Record | None:
    """Return what is known of a node's operation; None if nothing is."""
    return OPERATIONS.get(node.operation)


def may_draw(node: Node, has_facts: bool) -> bool:
    """Return whether a call may draw random numbers, where nobody draws them for it."""
    if node.target is None or has_facts:
        return False
    record = record_of(node)
    return record.draws if record is not None else node.value is not None

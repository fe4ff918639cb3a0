"""Rules on samples: where an operation reads the samples that its result has at some place.

Each rule gets a call and the place of the samples in its result. It returns the place in each input
that has samples, so that f(x)[some samples] = f(x[the same samples]); other inputs are read whole.
It returns None for a call in which samples meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.sample_axis import SampleAxis

Reads = dict[Node, SampleAxis]
SampleRule = Callable[[Node, SampleAxis], Reads | None]


def own_drop(node: Node, at: SampleAxis) -> Reads | None:
    """mapdrop's drop: each value has its coin, wherever it is computed."""
    return {node.args[0]: at}


def replicated(node: Node, at: SampleAxis) -> Reads | None:
    """mapdrop's drop, called for each replica; others would draw after their branch's drop does."""
    one: Node = node.target.node  # type: ignore[union-attr]
    return {node.args[0]: at} if one.operation == "mapdrop.drop" else None


def broadcast(node: Node, at: SampleAxis) -> Reads | None:
    """Values that are computed one by one, of arrays that broadcast."""
    return _lined_up(node.tensors, len(node.shape), at)


def alone(node: Node, at: SampleAxis) -> Reads | None:
    """Values of the first input one by one."""
    return _same_place(node, at)


def _lined_up(sources: Sequence[Node], rank: int, at: SampleAxis) -> Reads:
    """Return the places in arrays that broadcast to a rank: their last axes are the same."""
    reads: Reads = {}
    for source in sources:
        axis = at.axis - rank + len(source.shape)
        if axis >= 0 and source.shape[axis] == at.size:
            reads[source] = at.moved(axis)
    return reads


def first_axis(node: Node, at: SampleAxis) -> Reads | None:
    """Each entry of the first axis of the first input by itself."""
    source = _first(node)
    if source is None or at.axis or not source.shape or source.shape[0] != at.size:
        return None
    name = node.operation
    dims = int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else None
    batched = dims is None or len(source.shape) == dims + 2
    return {source: at} if batched and len(source.shape) > 1 else None


def per_batch_statistics(node: Node, at: SampleAxis) -> Reads | None:
    """BatchNorm: by each sample alone only with statistics from before."""
    return None if node.argument("training", 5, False) else first_axis(node, at)


def own_statistics(node: Node, at: SampleAxis) -> Reads | None:
    """InstanceNorm by each map's own statistics."""
    return first_axis(node, at) if has_own_statistics(node) else None


def has_own_statistics(node: Node) -> bool:
    """Return whether an InstanceNorm neither reads nor updates statistics of other calls.

    `torch.instance_norm`, whose arguments have another order, may do so.
    """
    return node.target is F.instance_norm and node.argument("running_mean", 1) is None


def normalized(node: Node, at: SampleAxis) -> Reads | None:
    """LayerNorm, RMSNorm: the last axes together."""
    count = len(node.argument("normalized_shape", 1, ()))
    return _same_place(node, at) if at.axis < len(node.shape) - count else None


def last_axis(node: Node, at: SampleAxis) -> Reads | None:
    """The last axis mixed, as in Linear."""
    return _same_place(node, at) if at.axis < len(node.shape) - 1 else None


def along(name: str, position: int, default: Any = None) -> SampleRule:
    """Return the rule of what mixes or moves along axes given by an argument."""

    def rule(node: Node, at: SampleAxis) -> Reads | None:
        source = _first(node)
        if source is None:
            return None
        axes = _axes(node, name, position, default, len(source.shape))
        return None if axes is None or at.axis in axes else _same_place(node, at)

    return rule


def reduced(node: Node, at: SampleAxis) -> Reads | None:
    """Reduce over some axes, which the result has no longer or with one entry."""
    source = _first(node)
    if source is None:
        return None
    default = _keyword(node, "axis")
    rank = len(source.shape)
    axes = _axes(node, "dim", 2 if node.operation == "linalg_vector_norm" else 1, default, rank)
    if axes is None:
        return None
    kept = [axis for axis in range(rank) if axis not in axes]
    result = node.value[0] if isinstance(node.value, (tuple, list)) else node.value
    whole_rank = len(result.shape) == rank
    if whole_rank and at.axis in axes:
        return None
    axis = at.axis if whole_rank else kept[at.axis]
    return {source: at.moved(axis)} if source.shape[axis] == at.size else None


def flipped(node: Node, at: SampleAxis) -> Reads | None:
    """Axes in reverse order."""
    given = node.argument("dims", 1)
    axes = given if isinstance(given, (tuple, list)) else node.args[1:]
    return None if at.axis in {axis % len(node.shape) for axis in axes} else _same_place(node, at)


def reshaped(node: Node, at: SampleAxis) -> Reads | None:
    """The same values in a row, in another shape."""
    source = _first(node)
    if source is None or source.value.dtype != node.value.dtype:  # A view of the bits.
        return None
    place = at.reshaped(node.shape, source.shape)
    return None if place is None else {source: place}


def permuted(node: Node, at: SampleAxis) -> Reads | None:
    """The axes in another order."""
    source = _first(node)
    if source is None:
        return None
    rank, given = len(source.shape), node.argument("dims", 1)
    dims = given if isinstance(given, (tuple, list)) else node.args[1:]
    return {source: at.moved(dims[at.axis] % rank)} if len(dims) == rank else None


def transposed(node: Node, at: SampleAxis) -> Reads | None:
    """Two axes exchanged; `t` and `T` those of a matrix."""
    source = _first(node)
    if source is None:
        return None
    rank = len(source.shape)
    a, b = (node.argument(f"dim{i}", 1 + i, _keyword(node, f"axis{i}", i)) % rank for i in (0, 1))
    return {source: at.moved({a: b, b: a}.get(at.axis, at.axis))}


def attribute(node: Node, at: SampleAxis) -> Reads | None:
    """The last two axes exchanged, as `x.mT`."""
    source, name = node.args
    rank = len(node.shape)
    if name != "mT" and (name != "T" or rank != 2):
        return None
    last = {rank - 1: rank - 2, rank - 2: rank - 1}
    return {source: at.moved(last.get(at.axis, at.axis))}


def expanded(node: Node, at: SampleAxis) -> Reads | None:
    """Axes with one entry repeated."""
    source = _first(node)
    return None if source is None else _lined_up([source], len(node.shape), at)


def repeated(node: Node, at: SampleAxis) -> Reads | None:
    """The array side by side with itself, along all axes but that of the samples."""
    source, given = _first(node), node.argument("repeats", 1)
    times = given if isinstance(given, (tuple, list)) else node.args[1:]
    if source is None or times[at.axis] != 1:
        return None
    return _lined_up([source], len(node.shape), at)


def padded(node: Node, at: SampleAxis) -> Reads | None:
    """The last axes padded. Of an axis with as many entries as before, both sides are or none."""
    pad = node.argument("pad", 1, ())
    first = 2 * (len(node.shape) - 1 - at.axis)
    return None if any(pad[first : first + 2]) else _same_place(node, at)


def item(node: Node, at: SampleAxis) -> Reads | None:
    """An index: of an array, or one of the parts of a tuple."""
    source, index = node.args
    if not isinstance(source, Node):
        return None
    if not source.is_array:
        return {source: at} if isinstance(index, int) else None
    axes = _indexed(source.shape, index if isinstance(index, tuple) else (index,))
    axis = axes[at.axis] if axes is not None else None
    return None if axis is None else {source: at.moved(axis)}


def _indexed(shape: Sequence[int], index: Sequence[Any]) -> list[int | None] | None:
    """Return, for each axis of a result, the axis of the input that it is in full; or None."""
    if any(i is not None and i is not Ellipsis and type(i) not in (int, slice) for i in index):
        return None
    missing = len(shape) - sum(i is not None and i is not Ellipsis for i in index)
    full = [slice(None)] * missing
    if Ellipsis in index:
        place = list(index).index(Ellipsis)
        index = [*index[:place], *full, *index[place + 1 :]]
    else:
        index = [*index, *full]
    found: list[int | None] = []
    axis = 0
    for i in index:
        if isinstance(i, int):
            axis += 1
        elif i is None:
            found.append(None)
        else:
            found.append(axis if i == slice(None) else None)
            axis += 1
    return found


def selected(node: Node, at: SampleAxis) -> Reads | None:
    """One entry of an axis."""
    source = _first(node)
    if source is None:
        return None
    axis = node.argument("dim", 1) % len(source.shape)
    return {source: at.moved(at.axis + (at.axis >= axis))}


def split(node: Node, at: SampleAxis) -> Reads | None:
    """The parts along an axis."""
    source = _first(node)
    if source is None:
        return None
    axis = node.argument("dim", 2, 0) % len(source.shape)
    return None if axis == at.axis else {source: at}


def unbound(node: Node, at: SampleAxis) -> Reads | None:
    """The entries of an axis as arrays."""
    source = _first(node)
    if source is None:
        return None
    axis = node.argument("dim", 1, 0) % len(source.shape)
    return {source: at.moved(at.axis + (at.axis >= axis))}


def concatenated(node: Node, at: SampleAxis) -> Reads | None:
    """Arrays side by side along an axis."""
    parts = node.argument("tensors", 0, ())
    axis = node.argument("dim", 1, _keyword(node, "axis", 0)) % len(node.shape)
    if axis == at.axis or not _are_nodes(parts):
        return None
    alike = all(len(part.shape) == len(node.shape) for part in parts)  # Not torch.empty(0).
    return dict.fromkeys(parts, at) if alike else None


def stacked(node: Node, at: SampleAxis) -> Reads | None:
    """Arrays side by side along a new axis."""
    parts = node.argument("tensors", 0, ())
    axis = node.argument("dim", 1, 0) % len(node.shape)
    if axis == at.axis or not _are_nodes(parts):
        return None
    return dict.fromkeys(parts, at.moved(at.axis - (at.axis > axis)))


def matrix_product(node: Node, at: SampleAxis) -> Reads | None:
    """A product of matrices: (..., n, k) and (..., k, m)."""
    left = node.argument("input", 0)
    right = node.argument("mat2" if node.operation == "bmm" else "other", 1)
    rank = len(node.shape)
    if min(len(left.shape), len(right.shape)) < 2:
        return None
    if at.axis < rank - 2:
        return _once([left, right], rank, at)
    if left is right:
        return None
    return {left: at.moved(len(left.shape) - 2)} if at.axis == rank - 2 else None


def sum_of_products(node: Node, at: SampleAxis) -> Reads | None:
    """An einsum: the axis of the samples has a letter of its own."""
    equation, *operands = node.args
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        return None
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = list(operands[0])
    left, right = equation.replace(" ", "").split("->")
    letter, reads = right[at.axis], dict[Node, SampleAxis]()
    for letters, operand in zip(left.split(","), operands, strict=True):
        if letters.count(letter) > 1 or operand in reads:
            return None
        if letter in letters:
            reads[operand] = at.moved(letters.index(letter))
    return reads


def attention(node: Node, at: SampleAxis) -> Reads | None:
    """Scaled dot product attention: all axes but the last two line up."""
    rank = len(node.shape)
    heads = 3 if _keyword(node, "enable_gqa") else 2  # Query and key heads differ.
    return _once(node.tensors, rank, at) if at.axis < rank - heads else None


def attention_layer(node: Node, at: SampleAxis) -> Reads | None:
    """The function of nn.MultiheadAttention, for (length, samples, features)."""
    inputs = [node.argument(name, i) for i, name in enumerate(("query", "key", "value"))]
    if at.axis != 1 or any(len(n.shape) != 3 for n in inputs):
        return None
    if node.argument("static_k", 21) is not None or node.argument("static_v", 22) is not None:
        return None
    reads = dict.fromkeys(inputs, at)
    padding, mask = node.argument("key_padding_mask", 14), node.argument("attn_mask", 16)
    if isinstance(padding, Node):
        reads[padding] = at.moved(0)
    if isinstance(mask, Node) and len(mask.shape) == 3:
        heads = mask.shape[0] // at.size
        reads[mask] = SampleAxis(0, at.samples, at.before, at.after * heads)
    return reads


def looked_up(node: Node, at: SampleAxis) -> Reads | None:
    """Rows of a table, by an array of their numbers. Two options count what others look up."""
    index = node.argument("input", 0)
    meet = node.argument("max_norm", 3) is not None or node.argument("scale_grad_by_freq", 5, False)
    if meet or node.target is not F.embedding or not isinstance(index, Node):
        return None
    return {index: at} if at.axis < len(index.shape) else None


def _keyword(node: Node, name: str, default: Any = None) -> Any:
    """Return an argument that is given by its name alone."""
    return (node.kwargs or {}).get(name, default)


def _are_nodes(parts: Any) -> bool:
    return isinstance(parts, (tuple, list)) and all(isinstance(part, Node) for part in parts)


def _once(sources: Sequence[Any], rank: int, at: SampleAxis) -> Reads | None:
    """Return the places in arrays whose last axes are the same."""
    return _lined_up([s for s in sources if isinstance(s, Node)], rank, at)


def _first(node: Node) -> Node | None:
    """Return the first argument, an array."""
    source = node.argument("input", 0)
    return source if isinstance(source, Node) and source.is_array else None


def _same_place(node: Node, at: SampleAxis) -> Reads | None:
    """Return the same place in the first argument, which must have the same axes up to there."""
    source = _first(node)
    if source is None or source.shape[at.axis : at.axis + 1] != (at.size,):
        return None
    return {source: at}


def _axes(node: Node, name: str, position: int, default: Any, rank: int) -> set[int] | None:
    """Return the axes that an argument names; None for all of them."""
    given = node.argument(name, position, default)
    axes = given if isinstance(given, (tuple, list)) else (given,)
    if not axes or any(type(axis) is not int for axis in axes):  # True is an int too.
        return None
    return {axis % rank for axis in axes}

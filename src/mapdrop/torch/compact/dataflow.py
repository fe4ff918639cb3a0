"""The dataflow of a captured graph: which maps may be non-zero, and which are live.

Non-zero maps follow from the inputs down, live maps from the output up. A map has to exist if it
may be non-zero and is live.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from functools import reduce

from torch import Tensor, fx
from torch.nn.utils.parametrize import is_parametrized

from mapdrop.backends.torch._internals import DropoutBase
from mapdrop.torch.compact.capture.capture import Captured
from mapdrop.torch.compact.capture.hooks import hooked
from mapdrop.torch.compact.lattice import (
    AllMaps,
    MapSet,
    intersection,
    union,
    with_static_count,
)
from mapdrop.torch.compact.node import NodeInfo
from mapdrop.torch.compact.ops.drop import DropOp, find_drop
from mapdrop.torch.compact.ops.linear import ChannelMixing
from mapdrop.torch.compact.ops.op import Op
from mapdrop.torch.compact.ops.registry import FUNCTIONS, find_builder

_NEARLY_ALL = 0.97  # A set with a higher density counts as all maps.


@dataclass
class Dataflow:
    """What is known of a graph before anything is decided.

    Attributes:
        nodes: in the order of the graph.
        infos: of every node.
        ops: of the nodes that can work on packed arrays.
        drops: those of them that drop maps, in order.
        needed: for each node, the maps that have to exist.
        samples: the batch size of the first drop's array. Drops of another one stay as they are.
    """

    nodes: list[fx.Node]
    infos: dict[fx.Node, NodeInfo]
    ops: dict[fx.Node, Op]
    drops: list[DropOp]
    needed: dict[fx.Node, MapSet] = field(default_factory=dict)
    samples: int | None = None


def analyse(captured: Captured, static: bool = False) -> Dataflow:
    """Find the op of every node, and the maps that have to exist.

    Args:
        captured: the graph.
        static: whether sets must have a number of maps in every sample that is known ahead, as for
            a graph that is to be compiled.
    """
    nodes = list(captured.graph.nodes)
    flow = Dataflow(nodes, {n: NodeInfo(n, captured.owner) for n in nodes}, {}, [])
    for node in nodes:
        if not _is_tensor(node) or node.op in ("placeholder", "get_attr"):
            continue
        op = _find_op(flow.infos[node], len(flow.drops))
        if isinstance(op, DropOp):
            flow.samples = flow.samples or op.samples
            fits = op.samples == flow.samples and (op.kept.count or not static)
            op = op if fits else None
        if op is None:
            continue
        flow.ops[node] = op
        _note_features(node, op)
        if isinstance(op, DropOp):
            flow.drops.append(op)
    _find_needed(flow, _find_nonzero(flow))
    if static:
        _make_static(flow)
    return flow


def draw_positions(flow: Dataflow) -> dict[int, int]:
    """Return, for each drop, the index of the last node before it that may draw random numbers.

    Its mask is drawn right after that node, in the order of the drops, so that every random number
    is what it would have been. -1 stands for the start.
    """
    position = {node: i for i, node in enumerate(flow.nodes)}
    random = [position[n] for n in flow.nodes if _may_be_random(n, flow)]
    drops = {op.number: position[n] for n, op in flow.ops.items() if isinstance(op, DropOp)}
    return {number: max((r for r in random if r < at), default=-1) for number, at in drops.items()}


def _find_op(info: NodeInfo, number: int) -> Op | None:
    drop = find_drop(info)
    if drop is not None:
        return DropOp(info.arrays[0], drop, number)
    if info.module is not None and hooked(info.module):
        return None
    build = find_builder(info)
    readable = info.arrays or info.node.target is operator.getitem
    return build(info) if build is not None and readable else None


def _note_features(node: fx.Node, op: Op) -> None:
    """Note on a node after a flatten how many maps it has, and how many features each map."""
    source = op.sources[0]
    shape, before = node.meta["val"].shape, source.meta["val"].shape
    if len(shape) != 2 or isinstance(op, ChannelMixing):
        return
    maps = source.meta.get("maps", (before[1], 1))[0] if len(before) == 2 else before[1]
    node.meta["maps"] = (maps, shape[1] // maps)


def _all_maps(node: fx.Node) -> AllMaps:
    value = node.meta["val"]
    return AllMaps(int(node.meta.get("maps", (value.shape[1] if value.dim() > 1 else 1, 1))[0]))


def _find_nonzero(flow: Dataflow) -> dict[fx.Node, MapSet]:
    nonzero: dict[fx.Node, MapSet] = {}
    for node in filter(_is_tensor, flow.nodes):
        op = flow.ops.get(node)
        every = _all_maps(node)
        nonzero[node] = every if op is None else op.nonzero([nonzero[s] for s in op.sources])
    return nonzero


def _find_needed(flow: Dataflow, nonzero: dict[fx.Node, MapSet]) -> None:
    drawn_after = draw_positions(flow)
    read: dict[fx.Node, list[MapSet]] = {}
    for position, node in reversed(list(enumerate(flow.nodes))):
        if not _is_tensor(node):
            continue

        def is_drawn(number: int, position: int = position) -> bool:
            return drawn_after[number] < position

        reads = read.get(node, [])
        if not reads or any(_reads_all(user, node, flow) for user in node.users):
            live: MapSet = _all_maps(node)
        else:
            live = _rounded(reduce(union, reads).from_known(is_drawn))
        flow.needed[node] = _rounded(intersection(nonzero[node], live))
        op = flow.ops.get(node)
        if op is not None:
            for source, maps in zip(op.sources, op.live(live), strict=True):
                read.setdefault(source, []).append(_rounded(maps))


def _rounded(maps: MapSet) -> MapSet:
    return AllMaps(maps.channels) if maps.density > _NEARLY_ALL else maps


def _make_static(flow: Dataflow) -> None:
    """Enlarge the sets until the number of their maps is known ahead."""
    for node in flow.needed:
        op = flow.ops.get(node)
        maps = with_static_count(flow.needed[node])
        if op is None or not op.static:
            maps = AllMaps(maps.channels)
        elif isinstance(op, DropOp) and not isinstance(maps, AllMaps):
            maps = op.kept  # Not more: it would have to fill the others with zeros.
        flow.needed[node] = maps
        if isinstance(op, ChannelMixing):
            op.workload.copies = 0  # Mapdrop's own kernels read on the host which maps are kept.


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def _reads_all(user: fx.Node, node: fx.Node, flow: Dataflow) -> bool:
    op = flow.ops.get(user)
    if op is not None:
        return node not in op.sources
    if _is_tensor(user) or user.op == "output":
        return True
    # The parts of a tuple may be read one by one (chunk), and a size reads no value at all.
    return isinstance(user.meta.get("val"), (tuple, list)) and any(
        isinstance(v, Tensor) and flow.ops.get(part) is None
        for v in user.meta["val"]
        for part in user.users
    )


def _may_be_random(node: fx.Node, flow: Dataflow) -> bool:
    if node.op in ("placeholder", "get_attr", "output"):
        return False
    module = flow.infos[node].module
    if module is not None and is_parametrized(module):
        return True  # DropConnect, for example, draws when its layer reads the weight.
    if node in flow.ops:
        return False
    if module is not None:
        harmless = isinstance(module, DropoutBase) and hasattr(module, "p")
        idle = harmless and not (module.training and module.p > 0)
        known = find_builder(flow.infos[node]) is not None
        return not (idle or known) or hooked(module)
    return node.target not in FUNCTIONS and _is_tensor(node)

"""Lower an analysed graph to a program: what is stored packed, and what each step does."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mapdrop.torch.compact.calibration import calibrate
from mapdrop.torch.compact.choose import Choice, choose
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.packed.mixing import PackedMixing
from mapdrop.torch.compact.packed.packed import Packed
from mapdrop.torch.compact.packed.registry import PACKED, packed
from mapdrop.torch.compact.packing.layout import BLOCK
from mapdrop.torch.compact.packing.storage import DENSE, StaticStepState, StepState, Storage
from mapdrop.torch.graph.analysis import Analysis, analyse
from mapdrop.torch.graph.facts import ChannelMixing, DropFacts, Facts, PerMap, Slice
from mapdrop.torch.graph.graph import Graph, Node, substituted
from mapdrop.torch.graph.lattice import AllMaps, MapSet, with_static_count
from mapdrop.torch.graph.program import Env, Program, Run, Step


@dataclass(eq=False)
class Schedule:
    """A program, and what it follows from.

    Attributes:
        analysis, choice: what is known, and what was decided.
        program: the steps.
        storages: how the result of each operation is stored.
        fused: the ReLUs that are done by the operation before them.
        static: whether no step reads a mask on the host.
        last: the state of the last call.
    """

    analysis: Analysis
    choice: Choice
    program: Program
    storages: Mapping[Node, Storage]
    fused: frozenset[Node]
    static: bool
    last: StepState | None = field(default=None, compare=False)

    @property
    def skips(self) -> bool:
        """Whether anything is skipped."""
        return any(storage.packed for storage in self.storages.values())

    @cached_property
    def _block(self) -> int:
        """1 if mapdrop's own kernels do every operation that skips."""
        skipping = [d for d in self.choice.decisions if d.skips]
        return 1 if all(d.work.own_kernels for d in skipping) else BLOCK

    def run(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """Return the outputs of the graph."""
        kind = StaticStepState if self.static else StepState
        self.last = kind(self.analysis.samples, self._block)
        outputs: tuple[Any, ...] = self.program.run(inputs, self.last)
        return outputs


def schedule(graph: Graph, costs: Costs | None, waits: bool = False) -> Schedule:
    """Analyse a graph, choose what to skip, and write the steps.

    Args:
        graph: the graph.
        costs: the constants to choose by; None for this machine's.
        waits: whether the host would wait for the device to read a mask. Then only drops with an
            exact count skip anything, if there are any.
    """
    analysis = analyse(graph)
    if waits and any(facts.drop.exact for _, facts in analysis.drops):
        return static_schedule(graph, costs)
    return _chosen(analysis, costs, static=False)


def static_schedule(graph: Graph, costs: Costs | None) -> Schedule:
    """As `schedule`, but no step reads a mask on the host: only exact drops skip anything."""
    analysis = analyse(graph, lambda kept: kept.count > 0)
    return _chosen(_with_static_counts(analysis), costs, static=True)


def _chosen(analysis: Analysis, costs: Costs | None, static: bool) -> Schedule:
    if costs is None:
        on_cpu = any(node.value.device.type == "cpu" for node, _ in analysis.drops)
        costs = calibrate() if on_cpu else Costs()
    return lower(analysis, choose(analysis, costs, static), static)


def _with_static_counts(analysis: Analysis) -> Analysis:
    """Return an analysis with sets so large that the number of their maps is known ahead."""

    def enlarged(node: Node, needed: MapSet) -> MapSet:
        facts = analysis.facts.get(node)
        maps = with_static_count(needed)
        if facts is None or not PACKED[type(facts)].static or isinstance(maps, AllMaps):
            return AllMaps(maps.channels)
        # Not more than a drop keeps: it would have to fill the others with zeros.
        return facts.kept if isinstance(facts, DropFacts) else maps

    needed = {node: enlarged(node, maps) for node, maps in analysis.needed.items()}
    return Analysis(analysis.graph, analysis.facts, needed)


def lower(analysis: Analysis, choice: Choice, static: bool = False) -> Schedule:
    """Write the steps of an analysed graph, as chosen."""
    writer = _Writer(analysis, choice, static)
    program = writer.program()
    fused = frozenset(writer.fused)
    return Schedule(analysis, choice, program, writer.storages, fused, static)


class _Writer:
    """Writes the steps of one program, node by node."""

    def __init__(self, analysis: Analysis, choice: Choice, static: bool) -> None:
        self.analysis, self.choice = analysis, choice
        self.graph, self.facts = analysis.graph, analysis.facts
        self.static = static
        self.storages: dict[Node, Storage] = {}
        self.steps: list[Step] = []
        self.written: set[Any] = set()  # The slots that have a value.
        self.fused: set[Node] = set()

    def program(self) -> Program:
        """Write all steps."""
        draws = sorted((after, number) for number, (after, _) in self.analysis.draws.items())
        dense_inside = {s for n in self.graph.nodes if n.region for s in n.inputs}
        for number in (number for after, number in draws if after < 0):
            self._draw(number)
        for node in self.graph.nodes:
            if node not in self.written:
                self._node(node)
            if node in dense_inside:  # Before gradients or autocast are switched.
                self._slot(node, DENSE)
            for number in (number for after, number in draws if after == node.number):
                self._draw(number)
        slots = {n: self._slot(n, DENSE) for n in self.graph.returned}
        outputs = self.graph.outputs
        self._add(
            "output",
            lambda env, state: tuple(env[slots[v]] if isinstance(v, Node) else v for v in outputs),
            list(slots.values()),
        )
        return Program.of(self.steps)

    def _add(self, slot: Any, run: Run, reads: Sequence[Any]) -> None:
        self.steps.append(Step(slot, run, tuple(reads)))
        self.written.add(slot)

    def _draw(self, number: int) -> None:
        _, facts = self.analysis.drops[number]
        drop = facts.drop
        _, seed_nodes = self.analysis.draws[number]
        for seed_node in seed_nodes:
            self._inputs_first(seed_node)
        if drop.seed is not None:
            self._inputs_first(drop.seed)
        draw = drop.draw_on_device if self.static else drop.draw
        seed = drop.seed

        def run(env: Env, state: StepState) -> None:
            state.drawn[number] = draw(None if seed is None else env[seed])

        self._add(("draw", number), run, [] if seed is None else [seed])

    def _inputs_first(self, node: Node) -> None:
        """Write a node that a mask follows from, and the inputs that it reads."""
        for needed in (*node.inputs, node):
            if needed not in self.written:
                self._node(needed)

    def _node(self, node: Node) -> None:
        if node.target is None:
            number = self.graph.inputs.index(node)
            self._add(node, lambda env, state: env["inputs"][number], [])
            return
        facts = self.facts.get(node)
        storage = self.storages[node] = self._storage(node, facts)
        reads_packed = node in self.choice.reads_packed
        if isinstance(facts, DropFacts) and not storage.packed:
            self._dense_drop(node, facts)
        elif facts is None or not (storage.packed or reads_packed):
            self._dense(node, facts)
        elif node in self.fused:
            (source,) = facts.sources
            self._add(node, lambda env, state: env[source], [source])
        else:
            self._packed(node, facts, storage)

    def _storage(self, node: Node, facts: Facts | None) -> Storage:
        if facts is None or node not in self.choice.packed:
            return DENSE
        gains = {self.storages.get(source, DENSE).gain for source in facts.sources}
        gain = gains.pop() if facts.homogeneous and len(gains) == 1 else 1.0
        own = facts.drop.gain if isinstance(facts, DropFacts) else 1.0
        return Storage(self.analysis.needed[node], gain * own)

    def _slot(self, node: Node, storage: Storage) -> Any:
        """Return the slot of a node's value in `storage`. Add a step to convert it if needed."""
        have = self.storages.get(node, DENSE)
        if have == storage:
            return node
        slot = (node, storage)
        if slot not in self.written:
            shape = node.shape
            self._add(
                slot, lambda env, state: state.convert(env[node], have, storage, shape), [node]
            )
        return slot

    def _packed(self, node: Node, facts: Facts, storage: Storage) -> None:
        work = self._mixing(node, facts, storage) or packed(node, facts)
        storages = work.input_storages(storage)
        slots = [self._slot(n, s) for n, s in zip(facts.sources, storages, strict=True)]
        others = [n for n in node.inputs if n not in facts.sources]
        run = work.run
        self._add(
            node,
            lambda env, state: run([env[slot] for slot in slots], env, state, storage),
            [*slots, *others],
        )

    def _mixing(self, node: Node, facts: Facts, storage: Storage) -> Packed[Any] | None:
        """Return a convolution: how it reads its input, and whether it does the ReLU after it."""
        if not isinstance(facts, ChannelMixing):
            return None
        (source,) = facts.sources
        have, read = self.storages.get(source, DENSE), DENSE
        if node in self.choice.reads_packed:
            read = have if have.packed else Storage(self.analysis.needed[source])
        relu = self._relu_after(node, storage)
        self.fused.update([relu] if relu else [])
        return PackedMixing(node, facts, read, relu is not None)

    def _relu_after(self, node: Node, storage: Storage) -> Node | None:
        users = self.graph.users[node]
        if len(users) != 1 or node in self.graph.returned or not storage.packed:
            return None
        (user,) = users
        packed = user in self.choice.packed  # With the same maps: it is the only reader.
        relu = user.operation == "relu" and isinstance(self.facts.get(user), PerMap)
        return user if packed and relu else None

    def _dense_drop(self, node: Node, facts: DropFacts) -> None:
        slot = self._slot(facts.sources[0], DENSE)
        drop, kept = facts.drop, facts.kept
        self._add(node, lambda env, state: drop.apply(env[slot], state.drawn[kept.number]), [slot])

    def _dense(self, node: Node, facts: Facts | None) -> None:
        """Do what the model does, on dense arrays."""
        if isinstance(facts, Slice) and self._is_narrowed(node.inputs[0]):
            first, channels = facts.first, facts.channels
            slot = self._slot(facts.sources[0], DENSE)
            self._add(node, lambda env, state: env[slot].narrow(1, first, channels), [slot])
        elif self._is_narrowed(node):
            self._add(node, lambda env, state: None, [])
        else:
            slots = {n: self._slot(n, DENSE) for n in node.inputs}
            self._add(node, call_of(node, slots), list(slots.values()))

    def _is_narrowed(self, node: Any) -> bool:
        """Return whether a chunk or split is not done: its parts are narrowed from its input."""
        return (
            isinstance(node, Node)
            and isinstance(node.value, (tuple, list))
            and bool(self.graph.users[node])
            and node not in self.graph.returned
            and all(
                user in self.facts and user.target is operator.getitem
                for user in self.graph.users[node]
            )
        )


def call_of(node: Node, slots: Mapping[Node, Any]) -> Callable[[Env, Any], Any]:
    """Return a step that calls a node's operation with the values in the slots of its inputs."""
    target, args, kwargs = node.target, node.args, node.kwargs or {}
    assert target is not None
    nodes = [i for i, value in enumerate(args) if isinstance(value, Node)]
    if len(nodes) == _count((args, kwargs)):  # None is inside of a list or a keyword.
        places = [(i, slots[args[i]]) for i in nodes]

        def run_flat(env: Env, state: Any) -> Any:
            given = list(args)
            for i, slot in places:
                given[i] = env[slot]
            return target(*given, **kwargs)

        return run_flat

    def run(env: Env, state: Any) -> Any:
        def value(n: Node) -> Any:
            return env[slots[n]]

        return target(*substituted(args, value), **substituted(kwargs, value))

    return run


def _count(value: Any) -> int:
    """Return how many times nodes stand in arguments."""
    found: list[Node] = []
    substituted(value, found.append)
    return len(found)

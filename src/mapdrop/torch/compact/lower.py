"""Lower an analysed graph to a program: what is stored packed, and what each step does."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from torch import Tensor

from mapdrop.backends.torch.rows import laid_out
from mapdrop.torch.compact.calls import call_for_samples, call_of
from mapdrop.torch.compact.choose import Choice
from mapdrop.torch.compact.packed.mixing import PackedMixing
from mapdrop.torch.compact.packed.packed import Packed
from mapdrop.torch.compact.packed.registry import packed
from mapdrop.torch.compact.packing.storage import DENSE, StepState, Storage
from mapdrop.torch.graph.analysis import Analysis
from mapdrop.torch.graph.build import Checkpointed
from mapdrop.torch.graph.capture import Make, Subgraph
from mapdrop.torch.graph.facts import ChannelMixing, DropFacts, Facts, PerMap, Slice
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.program import Env, Program, Run, Step
from mapdrop.torch.graph.sample_axis import Samples
from mapdrop.torch.graph.sample_drops import SampleDrop


class Lowered(NamedTuple):
    """A program, and what came of it.

    Attributes:
        program: the steps.
        storages: how the result of each operation is stored.
        fused: the ReLUs that are done by the operation before them.
        parts: what is checkpointed.
    """

    program: Program
    storages: Mapping[Node, Storage]
    fused: frozenset[Node]
    parts: tuple[Subgraph[Any], ...]


def lower(
    analysis: Analysis, choice: Choice, static: bool = False, make: Make[Any] | None = None
) -> Lowered:
    """Write the program of an analysed graph, as chosen; parts run as `make` makes them."""
    writer = _Writer(analysis, choice, static, make)
    program = writer.program()
    return Lowered(program, writer.storages, frozenset(writer.fused), tuple(writer.parts))


class _Writer:
    """Writes the steps of one program, node by node."""

    def __init__(
        self, analysis: Analysis, choice: Choice, static: bool, make: Make[Any] | None
    ) -> None:
        self.analysis, self.choice = analysis, choice
        self.graph, self.facts = analysis.graph, analysis.facts
        self.branches = analysis.branches
        self.static, self.make = static, make
        self.parts: list[Subgraph[Any]] = []
        self.storages: dict[Node, Storage] = {}
        self.steps: list[Step] = []
        self.written: set[Any] = set()  # The slots that have a value.
        self.fused: set[Node] = set()
        self.added = {node: self._added_in(node) for node in self.graph.nodes}

    def program(self) -> Program:
        """Write all steps."""
        dense_inside = {s for n in self.graph.nodes if n.region for s in n.inputs}
        self._draw(-1)
        for node in self.graph.nodes:
            if node not in self.written:
                self._node(node)
            if node in dense_inside:  # Before gradients or autocast are switched.
                self._slot(node, DENSE)
            self._draw(node.number)
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

    def _draw(self, after: int) -> None:
        """Draw what is to be drawn after a node. A device is waited for once."""
        draws = [draw for draw in self.analysis.draws if draw.after == after]
        for draw in draws:
            for node in draw.nodes:
                self._inputs_first(node)
            if isinstance(draw.what, DropFacts):
                self._draw_maps(draw.what)
        of_samples = [draw.what for draw in draws if isinstance(draw.what, SampleDrop)]
        if of_samples:
            self._draw_samples(of_samples)

    def _draw_maps(self, facts: DropFacts) -> None:
        drop, number = facts.drop, facts.kept.number
        draw = drop.draw_on_device if self.static else drop.draw
        given = drop.given
        for node in given:
            self._inputs_first(node)

        def run(env: Env, state: StepState) -> None:
            state.drawn[number] = draw(*[env[node] for node in given])

        self._add(("draw", number), run, given)

    def _draw_samples(self, drops: list[SampleDrop]) -> None:
        given = [node for drop in drops for node in drop.given]
        for node in given:
            self._inputs_first(node)

        def run(env: Env, state: StepState) -> None:
            state.kept.draw(drops, [[env[node] for node in drop.given] for drop in drops])

        self._add(("samples", *(drop.number for drop in drops)), run, given)

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
        if node in self.branches.dropped:
            self._drop_samples(node, self.branches.dropped[node])
        elif self.added[node] is not None:
            self._add_samples(node, storage)
        elif isinstance(facts, DropFacts) and not storage.packed:
            self._dense_drop(node, facts)
        elif facts is None or not (storage.packed or reads_packed):
            self._dense(node, facts)
        elif node in self.fused:
            (source,) = facts.sources
            self._add(node, lambda env, state: env[source], [source])
        else:
            self._packed(node, facts, storage)

    def _storage(self, node: Node, facts: Facts | None) -> Storage:
        samples = self.branches.needed.get(node)
        if facts is None or node not in self.choice.packed:
            return Storage(samples=samples)
        gains = {self.storages.get(source, DENSE).gain for source in facts.sources}
        gain = gains.pop() if facts.homogeneous and len(gains) == 1 else 1.0
        own = facts.drop.gain if isinstance(facts, DropFacts) else 1.0
        return Storage(self.analysis.needed[node], gain * own, samples)

    def _slot(self, node: Node, storage: Storage) -> Any:
        """Return the slot of a node's value in `storage`. Add a step to convert it if needed."""
        have = self.storages.get(node, DENSE)
        if have == storage or not node.is_array:
            return node
        slot = (node, storage)
        if slot not in self.written or node in self.graph.overwritten:
            self._add(slot, _conversion(node, have, storage), [node])
        return slot

    def _packed(self, node: Node, facts: Facts, storage: Storage) -> None:
        work = self._mixing(node, facts, storage) or packed(node, facts)
        samples, reads = storage.samples, self.branches.reads.get(node, {})
        slots = [
            self._slot(n, replace(s, samples=samples if n in reads else None))
            for n, s in zip(facts.sources, work.input_storages(storage), strict=True)
        ]
        others = [n for n in node.inputs if n not in facts.sources]
        run, mixes, space = work.run, isinstance(facts, ChannelMixing), node.shape[2:]

        def step(env: Env, state: StepState) -> Tensor:
            part, values = state.part(samples), [env[slot] for slot in slots]
            if part.samples or mixes:
                return run(values, env, part, storage)
            # Few operations take an array without a map. All they read gets gradients of zeros.
            read = (x for x in (*values, *(env[n] for n in others)) if x.is_floating_point())
            nothing: Tensor = values[0].new_zeros((1, 0, *space))
            return sum((x.sum() * 0 for x in read), start=nothing)

        self._add(node, step, [*slots, *others])

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
        samples = self.branches.needed.get(node)
        slot = self._slot(facts.sources[0], Storage(samples=samples))
        drop, number = facts.drop, facts.kept.number

        def run(env: Env, state: StepState) -> Tensor:
            drawn = state.drawn[number]
            if samples is None:
                return drop.apply(env[slot], drawn)
            x: Tensor = env[slot]
            return x * state.kept.move(drop.factors(drawn, x), None, samples)

        self._add(node, run, [slot])

    def _drop_samples(self, node: Node, drop: SampleDrop) -> None:
        """Multiply the kept samples, unless that is done when they are added to others."""
        samples = self.branches.needed[node]
        slot = self._slot(drop.source, Storage(samples=samples))
        if self._only_added(node):
            self._add(node, lambda env, state: env[slot], [slot])
            return

        def run(env: Env, state: StepState) -> Tensor:
            return state.kept.scaled(env[slot], drop, samples.drops)

        self._add(node, run, [slot])

    def _added_in(self, node: Node) -> Node | None:
        """Return what a sum adds to some of its samples; None if it is no such sum."""
        if (
            node.operation != "add"
            or len(node.args) != 2
            or node.kwargs
            or node in self.choice.packed
        ):
            return None
        alike = [
            isinstance(a, Node) and (a.shape, a.value.dtype) == (node.shape, node.value.dtype)
            for a in node.args
        ]
        if not all(alike) or node.args[0] is node.args[1] or node.region:
            return None
        total = self.branches.needed.get(node)
        for added in node.args[::-1]:
            if added in self.branches.zero and (
                total is None or total.drops < self.branches.needed[added].drops
            ):
                return cast(Node, added)
        return None

    def _only_added(self, node: Node) -> bool:
        """Return whether a drop is only added to others, so that its factor can wait for that."""
        users = self.graph.users[node]
        return node not in self.graph.returned and all(self.added[u] is node for u in users)

    def _add_samples(self, node: Node, storage: Storage) -> None:
        """Add an array that has some samples to one that has them all, or more."""
        added = self.added[node]
        assert added is not None
        (other,) = (source for source in node.inputs if source is not added)
        have, want = self.branches.needed[added], storage.samples
        to = self._slot(other, Storage(samples=want))
        drop = self.branches.dropped.get(added) if self._only_added(added) else None
        leads = node.args[0] is added  # A sum has the memory layout of its first operand.

        def run(env: Env, state: StepState) -> Tensor:
            x, y = env[to], env[added]
            return state.kept.add(laid_out(x, y) if leads else x, want, y, have, drop)

        self._add(node, run, [to, added])

    def _dense(self, node: Node, facts: Facts | None) -> None:
        """Do what the model does, on dense arrays."""
        samples = self.branches.needed.get(node)
        if samples is not None:
            self._for_samples(node, samples)
        elif isinstance(facts, Slice) and self._is_narrowed(node.inputs[0]):
            first, channels = facts.first, facts.channels
            slot = self._slot(facts.sources[0], DENSE)
            self._add(node, lambda env, state: env[slot].narrow(1, first, channels), [slot])
        elif self._is_narrowed(node):
            self._add(node, lambda env, state: None, [])
        else:
            slots = {n: self._slot(n, DENSE) for n in node.inputs}
            self._add(node, call_of(self._with_part(node), slots), list(slots.values()))

    def _with_part(self, node: Node) -> Node:
        """Return the call of a checkpointed part with what is to be run for it."""
        if self.make is None or not isinstance(node.target, Checkpointed):
            return node
        body, *others = node.args
        self.parts.append(Subgraph(body, self.make, recomputed=True))
        return replace(node, args=(self.parts[-1], *others))

    def _for_samples(self, node: Node, samples: Samples) -> None:
        """Do what the model does, for some samples."""
        reads = self.branches.reads[node]
        slots = {
            n: self._slot(
                n, Storage(samples=replace(samples, at=reads[n])) if n in reads else DENSE
            )
            for n in node.inputs
        }
        self._add(node, call_for_samples(node, samples, slots), list(slots.values()))

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


def _conversion(node: Node, have: Storage, want: Storage) -> Run:
    """Return a step that moves a value to another storage."""
    if have.packed or want.packed:
        shape = node.shape
        return lambda env, state: state.convert(env[node], have, want, shape)
    before, after = have.samples, want.samples  # Dense arrays have no gain.
    return lambda env, state: state.kept.move(env[node], before, after)

"""Lower a captured graph to a schedule: what is stored packed, and what each step does."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from mapdrop.backends.torch._internals import pytree
from mapdrop.torch.compact.calibration import calibrate
from mapdrop.torch.compact.capture.capture import Captured
from mapdrop.torch.compact.choice import Choice, choose
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.dataflow import Dataflow, analyse, draw_positions
from mapdrop.torch.compact.node import Env
from mapdrop.torch.compact.ops.channels import Slice
from mapdrop.torch.compact.ops.drop import DropOp
from mapdrop.torch.compact.ops.linear import ChannelMixing
from mapdrop.torch.compact.ops.op import Op
from mapdrop.torch.compact.ops.per_map import PerMap
from mapdrop.torch.compact.packing.layout import BLOCK
from mapdrop.torch.compact.schedule import Schedule, Step
from mapdrop.torch.compact.storage import DENSE, Run, StaticStepState, StepState, Storage


def lower(
    captured: Captured, costs: Costs | None, device: torch.device, static: bool = False
) -> Schedule:
    """Choose what to skip, and write the steps.

    Args:
        captured: the graph.
        costs: the constants to choose by; None for this machine's.
        device: where masks are drawn.
        static: whether no step may read a mask on the host, so that only drops with an exact count
            skip anything.
    """
    flow = analyse(captured, static)
    if costs is None:
        costs = calibrate() if flow.drops and device.type == "cpu" else Costs()
    return _Lowering(captured, flow, choose(flow, costs), device, static).schedule()


class _Lowering:
    """Writes the steps of one schedule, node by node."""

    def __init__(
        self,
        captured: Captured,
        flow: Dataflow,
        choice: Choice,
        device: torch.device,
        static: bool,
    ) -> None:
        self.captured, self.flow, self.choice, self.device = captured, flow, choice, device
        self.static = static
        self.storages: dict[fx.Node, Storage] = {}
        self.steps: list[Step] = []
        self.reads: list[list[Any]] = []  # The slots that each step reads.
        self.converted: set[Any] = set()  # The slots that hold a node in another storage.
        self.fused: set[fx.Node] = set()  # The ReLUs that are done by the operation before them.

    def schedule(self) -> Schedule:
        """Write all steps."""
        inputs = [n for n in self.flow.nodes if n.op == "placeholder"]
        positions = draw_positions(self.flow)
        self._draw([d for d in self.flow.drops if positions[d.number] < 0])
        for i, node in enumerate(self.flow.nodes):
            self._node(node, inputs)
            self._draw([d for d in self.flow.drops if positions[d.number] == i])
        self._free()
        return Schedule(
            self.steps,
            self.flow.samples or 0,
            self._block(),
            self.flow,
            self.choice,
            self.storages,
            StaticStepState if self.static else StepState,
        )

    def _block(self) -> int:
        """Return 1 if mapdrop's own kernels do every operation that skips."""
        skipping = [d for d in self.choice.decisions if d.skips]
        return 1 if all(d.op.workload.own_kernels for d in skipping) else BLOCK

    def _add(self, slot: Any, run: Run, reads: list[Any]) -> None:
        self.steps.append(Step(slot, run))
        self.reads.append(reads)

    def _draw(self, drops: list[DropOp]) -> None:
        for op in drops:

            def run(env: Env, state: StepState, op: DropOp = op) -> None:
                draw = op.drop.draw_on_device if self.static else op.drop.draw
                state.drawn[op.number] = draw(self.device)

            self._add(("draw", op.number), run, [])

    def _node(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        if node.op == "placeholder":
            number = inputs.index(node)
            self._add(node, lambda env, state: env["inputs"][number], [])
        elif node.op == "get_attr":
            *path, name = str(node.target).split(".")
            owner = self.captured.owner.get_submodule(".".join(path))
            self._add(node, lambda env, state: getattr(owner, name), [])
        elif node.op == "output":
            self._output(node)
        else:
            self._operation(node)

    def _output(self, node: fx.Node) -> None:
        values: Any = node.args[0]
        structure = self.captured.output
        slots = {n: self._slot(n, DENSE) for n in node.all_input_nodes}

        def run(env: Env, state: StepState) -> Any:
            leaves = [env[slots[v]] if isinstance(v, fx.Node) else v for v in values]
            return pytree.tree_unflatten(leaves, structure)

        self._add("output", run, list(slots.values()))

    def _operation(self, node: fx.Node) -> None:
        op = self.flow.ops.get(node)
        storage = self._storage(node, op)
        self.storages[node] = storage
        reads_packed = isinstance(op, ChannelMixing) and node in self.choice.reads_packed
        if isinstance(op, DropOp) and not storage.packed:
            self._dense_drop(node, op)
        elif op is None or not (storage.packed or reads_packed):
            self._dense(node, op)
        elif node in self.fused:
            source = op.sources[0]
            self._add(node, lambda env, state: env[source], [source])
        else:
            self._packed(node, op, storage)

    def _storage(self, node: fx.Node, op: Op | None) -> Storage:
        if op is None or node not in self.choice.packed:
            return DENSE
        gains = {self.storages.get(source, DENSE).gain for source in op.sources}
        gain = gains.pop() if op.homogeneous and len(gains) == 1 else 1.0
        own = op.drop.gain if isinstance(op, DropOp) else 1.0
        return Storage(self.flow.needed[node], gain * own)

    def _slot(self, node: fx.Node, storage: Storage) -> Any:
        """Return the slot of a node's value in `storage`. Add a step to convert it if needed."""
        have = self.storages.get(node, DENSE)
        if have == storage:
            return node
        slot = (node, storage)
        if slot not in self.converted:
            self.converted.add(slot)
            shape = node.meta["val"].shape

            def run(env: Env, state: StepState) -> Tensor:
                return state.convert(env[node], have, storage, shape)

            self._add(slot, run, [node])
        return slot

    def _packed(self, node: fx.Node, op: Op, storage: Storage) -> None:
        if isinstance(op, ChannelMixing):
            self._settle(node, op, storage)
        storages = op.input_storages(storage)
        slots = [self._slot(n, s) for n, s in zip(op.sources, storages, strict=True)]
        others = [n for n in node.all_input_nodes if n not in op.sources]

        def run(env: Env, state: StepState) -> Tensor:
            return op.run([env[slot] for slot in slots], env, state, storage)

        self._add(node, run, [*slots, *others])

    def _settle(self, node: fx.Node, op: ChannelMixing, storage: Storage) -> None:
        """Set how a convolution reads its input, and whether it does the ReLU after it too."""
        source = op.sources[0]
        have = self.storages.get(source, DENSE)
        op.input_storage = DENSE
        if node in self.choice.reads_packed:
            op.input_storage = have if have.packed else Storage(self.flow.needed[source])
        relu = self._relu_after(node, storage)
        if relu is not None:
            self.fused.add(relu)
            op.fuse_relu = True

    def _relu_after(self, node: fx.Node, storage: Storage) -> fx.Node | None:
        users = list(node.users)
        if len(users) != 1 or not storage.packed:
            return None
        user = users[0]
        op = self.flow.ops.get(user)
        packed = user in self.choice.packed  # With the same maps: it is the only reader.
        relu = isinstance(self.flow.infos[user].module, torch.nn.ReLU) or user.target in (
            torch.relu,
            torch.nn.functional.relu,
            "relu",
        )
        return user if packed and relu and isinstance(op, PerMap) else None

    def _dense_drop(self, node: fx.Node, op: DropOp) -> None:
        slot = self._slot(op.sources[0], DENSE)
        self._add(node, lambda env, state: op.drop.apply(env[slot], state.drawn[op.number]), [slot])

    def _dense(self, node: fx.Node, op: Op | None) -> None:
        """Do what the model does, on dense arrays."""
        if isinstance(op, Slice) and self._is_narrowed(node.args[0]):
            first, channels = op.first, op.channels
            slot = self._slot(op.sources[0], DENSE)
            self._add(node, lambda env, state: env[slot].narrow(1, first, channels), [slot])
            return
        if self._is_narrowed(node):
            self._add(node, lambda env, state: None, [])
            return
        slots = {n: self._slot(n, DENSE) for n in node.all_input_nodes}
        args, kwargs, target = node.args, node.kwargs, node.target
        module = self.flow.infos[node].module

        def run(env: Env, state: StepState) -> Any:
            given = fx.node.map_arg(args, lambda n: env[slots[n]])
            named = fx.node.map_arg(kwargs, lambda n: env[slots[n]])
            if module is not None:
                return module(*given, **named)
            if isinstance(target, str):
                return getattr(given[0], target)(*given[1:], **named)
            return target(*given, **named)

        self._add(node, run, list(slots.values()))

    def _is_narrowed(self, node: Any) -> bool:
        """Return whether a chunk or split is not done: its parts are narrowed from its input."""
        return (
            isinstance(node, fx.Node)
            and isinstance(node.meta.get("val"), (tuple, list))
            and bool(node.users)
            and all(
                user in self.flow.ops and user.target is operator.getitem for user in node.users
            )
        )

    def _free(self) -> None:
        """Let each step free the slots that it is the last to read."""
        last: dict[Any, int] = {}
        for i, reads in enumerate(self.reads):
            last.setdefault(self.steps[i].slot, i)
            for slot in reads:
                last[slot] = i
        for slot, i in last.items():
            if slot != "output":
                self.steps[i].frees += (slot,)

"""From an analysed graph to a schedule: what is stored packed, and what each step does."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from mapdrop.torch.compact.calibrate import measured
from mapdrop.torch.compact.capture.capture import Captured
from mapdrop.torch.compact.cost_model import Choice, Costs, choose
from mapdrop.torch.compact.dataflow import Analysis, DropRule, analyse, earliest_draws
from mapdrop.torch.compact.ops.linear import Mixing
from mapdrop.torch.compact.ops.transfer import PerMap, Rule
from mapdrop.torch.compact.packing.layout import BLOCK
from mapdrop.torch.compact.packing.static import EqualScope
from mapdrop.torch.compact.storage import WHOLE, Env, Form, Run, Scope


@dataclass
class Step:
    """One thing to do, and the values that nobody needs after it."""

    slot: Any
    run: Run
    done_with: tuple[Any, ...] = ()


@dataclass
class Schedule:
    """The steps of a training forward, for inputs of certain shapes."""

    steps: list[Step]
    samples: int
    block: int  # Rows of a sample come in multiples of it.
    analysis: Analysis
    choice: Choice
    forms: dict[fx.Node, Form]
    scope: type[Scope] = Scope
    last: Scope | None = None  # Of the last call.

    @property
    def skips(self) -> bool:
        """Whether anything is left out."""
        return any(form.packed for form in self.forms.values())

    def run(self, values: list[Tensor]) -> Any:
        """The model's output."""
        env: Env = {"inputs": values}
        scope = self.scope(self.samples, self.block)
        self.last = scope
        for step in self.steps:
            env[step.slot] = step.run(env, scope)
            for slot in step.done_with:
                del env[slot]
        return env["output"]


def plan(
    captured: Captured, costs: Costs | None, device: torch.device, equal: bool = False
) -> Schedule:
    """Choose, and write the steps down. None: by this machine's constants.

    With `equal`, only what exact drops leave out is skipped, and no step reads a mask.
    """
    analysis = analyse(captured, equal)
    if costs is None:
        costs = measured() if analysis.drops and device.type == "cpu" else Costs()
    choice = choose(analysis, costs)
    return _Writer(captured, analysis, choice, device, equal).write()


class _Writer:
    def __init__(
        self,
        captured: Captured,
        analysis: Analysis,
        choice: Choice,
        device: torch.device,
        equal: bool,
    ) -> None:
        self.captured, self.analysis, self.choice, self.device = captured, analysis, choice, device
        self.equal = equal
        self.forms: dict[fx.Node, Form] = {}
        self.steps: list[Step] = []
        self.written: set[Any] = set()
        self.reads: list[list[Any]] = []
        self.fused: set[fx.Node] = set()

    def write(self) -> Schedule:
        tensors = [n for n in self.analysis.nodes if n.op == "placeholder"]
        place = {node: i for i, node in enumerate(self.analysis.nodes)}
        draws = earliest_draws(self.analysis, place)
        self._draw([d for d in self.analysis.drops if draws[d.number] < 0])
        for i, node in enumerate(self.analysis.nodes):
            self._node(node, tensors)
            self._draw([d for d in self.analysis.drops if draws[d.number] == i])
        self._free()
        samples = self.analysis.samples or 0
        scope = EqualScope if self.equal else Scope
        return Schedule(
            self.steps,
            samples,
            self._block(),
            self.analysis,
            self.choice,
            self.forms,
            scope,
        )

    def _block(self) -> int:
        """One where mapdrop's own kernels do all that is packed."""
        mixing = [o for o in self.choice.operations if o.skip_reads or o.skip_makes]
        return 1 if all(operation.rule.size.direct for operation in mixing) else BLOCK

    def _add(self, slot: Any, run: Run, reads: list[Any]) -> None:
        self.steps.append(Step(slot, run))
        self.reads.append(reads)

    def _draw(self, drops: list[DropRule]) -> None:
        for rule in drops:

            def run(env: Env, scope: Scope, rule: DropRule = rule) -> None:
                draw = rule.drop.draw_there if self.equal else rule.drop.draw
                scope.drawn[rule.number] = draw(self.device)

            self._add(("draw", rule.number), run, [])

    def _node(self, node: fx.Node, tensors: list[fx.Node]) -> None:
        if node.op == "placeholder":
            at = tensors.index(node)
            self._add(node, lambda env, scope: env["inputs"][at], [])
        elif node.op == "get_attr":
            *path, name = str(node.target).split(".")
            owner = self.captured.owner.get_submodule(".".join(path))
            self._add(node, lambda env, scope: getattr(owner, name), [])
        elif node.op == "output":
            given: Any = node.args[0]
            structure = self.captured.output
            slots = {n: self._slot(n, WHOLE) for n in node.all_input_nodes}

            def run(env: Env, scope: Scope) -> Any:
                leaves = [env[slots[v]] if isinstance(v, fx.Node) else v for v in given]
                return pytree.tree_unflatten(leaves, structure)

            self._add("output", run, list(slots.values()))
        else:
            self._operation(node)

    def _operation(self, node: fx.Node) -> None:
        rule = self.analysis.rules.get(node)
        form = self._form(node, rule)
        self.forms[node] = form
        if isinstance(rule, DropRule) and not form.packed:
            self._dense_drop(node, rule)
        elif rule is None or not (form.packed or self._mixes_packed(node, rule)):
            self._unchanged(node)
        else:
            self._packed(node, rule, form)

    def _form(self, node: fx.Node, rule: Rule | None) -> Form:
        if rule is None or node not in self.choice.packed:
            return WHOLE
        gains = {self.forms.get(source, WHOLE).gain for source in rule.reads}
        gain = gains.pop() if rule.homogeneous and len(gains) == 1 else 1.0
        own = rule.drop.gain if isinstance(rule, DropRule) else 1.0
        return Form(self.analysis.needed[node], gain * own)

    def _mixes_packed(self, node: fx.Node, rule: Rule) -> bool:
        return isinstance(rule, Mixing) and node in self.choice.reads_packed

    def _slot(self, node: fx.Node, form: Form) -> Any:
        """Where the node's value is found in that form; converted, once, where it is not."""
        have = self.forms.get(node, WHOLE)
        if have == form:
            return node
        slot = (node, form)
        if slot not in self.written:
            self.written.add(slot)
            shape = node.meta["val"].shape

            def run(env: Env, scope: Scope) -> Tensor:
                return scope.convert(env[node], have, form, shape)

            self._add(slot, run, [node])
        return slot

    def _packed(self, node: fx.Node, rule: Rule, form: Form) -> None:
        if node in self.fused:
            source = rule.reads[0]
            self._add(node, lambda env, scope: env[source], [source])
            return
        if isinstance(rule, Mixing):
            source = rule.reads[0]
            packed = node in self.choice.reads_packed
            have = self.forms.get(source, WHOLE)
            needed = self.analysis.needed[source]
            rule.reads_form = (have if have.packed else Form(needed)) if packed else WHOLE
            follower = self._relu_after(node, form)
            if follower is not None:
                self.fused.add(follower)
                rule.fused = True
        forms = rule.forms(form)
        slots = [self._slot(s, f) for s, f in zip(rule.reads, forms, strict=True)]
        others = [n for n in node.all_input_nodes if n not in rule.reads]

        def run(env: Env, scope: Scope) -> Tensor:
            return rule.run([env[slot] for slot in slots], env, scope, form)

        self._add(node, run, [*slots, *others])

    def _relu_after(self, node: fx.Node, form: Form) -> fx.Node | None:
        users = list(node.users)
        if len(users) != 1 or not form.packed:
            return None
        user = users[0]
        rule = self.analysis.rules.get(user)
        packed = user in self.choice.packed  # With the same maps: it is all that reads them.
        site = self.analysis.sites[user]
        relu = isinstance(site.module, torch.nn.ReLU) or user.target in (
            torch.relu,
            torch.nn.functional.relu,
            "relu",
        )
        return user if packed and relu and isinstance(rule, PerMap) else None

    def _dense_drop(self, node: fx.Node, rule: DropRule) -> None:
        slot = self._slot(rule.reads[0], WHOLE)
        self._add(
            node, lambda env, scope: rule.drop.apply(env[slot], scope.drawn[rule.number]), [slot]
        )

    def _unchanged(self, node: fx.Node) -> None:
        site = self.analysis.sites[node]
        rule = self.analysis.rules.get(node)
        if node.target is operator.getitem and rule is not None and _skipped(node.args[0], self):
            source, first, n = rule.reads[0], rule.first, rule.channels  # type: ignore[attr-defined]
            slot = self._slot(source, WHOLE)
            self._add(node, lambda env, scope: env[slot].narrow(1, first, n), [slot])
            return
        if _skipped(node, self):
            self._add(node, lambda env, scope: None, [])
            return
        slots = {n: self._slot(n, WHOLE) for n in node.all_input_nodes}
        args, kwargs, target = node.args, node.kwargs, node.target
        module = site.module

        def run(env: Env, scope: Scope) -> Any:
            given = fx.node.map_arg(args, lambda n: env[slots[n]])
            named = fx.node.map_arg(kwargs, lambda n: env[slots[n]])
            if module is not None:
                return module(*given, **named)
            if isinstance(target, str):
                return getattr(given[0], target)(*given[1:], **named)
            return target(*given, **named)

        self._add(node, run, list(slots.values()))

    def _free(self) -> None:
        last: dict[Any, int] = {}
        for i, reads in enumerate(self.reads):
            last.setdefault(self.steps[i].slot, i)
            for slot in reads:
                last[slot] = i
        for slot, i in last.items():
            if slot != "output":
                self.steps[i].done_with += (slot,)


def _skipped(node: Any, writer: _Writer) -> bool:
    """Whether a chunk or split need not be done: each part is taken from its input."""
    rules = writer.analysis.rules
    return (
        isinstance(node, fx.Node)
        and isinstance(node.meta.get("val"), (tuple, list))
        and bool(node.users)
        and all(user in rules and user.target is operator.getitem for user in node.users)
    )

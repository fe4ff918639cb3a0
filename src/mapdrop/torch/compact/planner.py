"""From a captured graph to a schedule: what is stored packed, and what each step does.

Support is worked out from the inputs down and demand from the output up; what has to exist of an
array is what may be non-zero AND is read. The cost model then chooses where skipping pays.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from mapdrop.torch.compact.capture import Captured, hooked
from mapdrop.torch.compact.cost import Choice, Costs, choose
from mapdrop.torch.compact.drops import Dropping, FeatureDropout, dropping
from mapdrop.torch.compact.forms import WHOLE, Env, Form, Run, Scope
from mapdrop.torch.compact.layout import BLOCK
from mapdrop.torch.compact.linear import Mixing
from mapdrop.torch.compact.machine import measured
from mapdrop.torch.compact.rules import PerMap, Rule
from mapdrop.torch.compact.sets import Kept, Maps, Whole, both, union
from mapdrop.torch.compact.site import Site
from mapdrop.torch.compact.table import FUNCTIONS, builder

_NEARLY_ALL = 0.97  # A set that is expected to have more of the maps than that counts as all.
_FEATURE = {
    torch.nn.functional.dropout1d,
    torch.nn.functional.dropout2d,
    torch.nn.functional.dropout3d,
}
_FEATURE_LAYERS = (torch.nn.Dropout1d, torch.nn.Dropout2d, torch.nn.Dropout3d)


class DropRule(Rule):
    """A drop of whole maps: what it keeps is all that is left, and all that it reads."""

    homogeneous = True

    def __init__(self, source: fx.Node, drop: Dropping, number: int) -> None:
        self.reads = (source,)
        self.drop, self.number = drop, number
        self.kept: Kept = drop.kept(number)
        self.kept_samples = int(source.meta["val"].shape[0])

    def support(self, given: list[Maps]) -> Maps:
        """What was there and is kept."""
        return both(given[0], self.kept)

    def demand(self, wanted: Maps) -> list[Maps]:
        """What is read and kept."""
        return [both(wanted, self.kept)]

    def forms(self, form: Form) -> list[Form]:
        """The same array: its factor has yet to be multiplied."""
        return [Form(form.maps, form.gain / self.drop.gain)]

    def run(self, values: list[Tensor], env: Env, scope: Scope, form: Form) -> Tensor:
        """Nothing: the dropped maps are not there, and the factor waits."""
        return values[0]


@dataclass
class Analysis:
    """What is known of a graph before anything is chosen."""

    nodes: list[fx.Node]
    sites: dict[fx.Node, Site]
    rules: dict[fx.Node, Rule]
    drops: list[DropRule]
    needed: dict[fx.Node, Maps] = field(default_factory=dict)
    samples: int | None = None  # Of the first drop's array; others are left as they are.


def analyse(captured: Captured) -> Analysis:
    """Rules, support and demand of every node."""
    nodes = list(captured.graph.nodes)
    found = Analysis(nodes, {n: Site(n, captured.owner) for n in nodes}, {}, [])
    for node in nodes:
        if not isinstance(node.meta.get("val"), Tensor) or node.op in ("placeholder", "get_attr"):
            continue
        site = found.sites[node]
        rule = _rule(site, len(found.drops))
        if isinstance(rule, DropRule):
            found.samples = found.samples or rule.kept_samples
            rule = rule if rule.kept_samples == found.samples else None
        if rule is None:
            continue
        found.rules[node] = rule
        _note_features(node, rule)
        if isinstance(rule, DropRule):
            found.drops.append(rule)
    _flow(found)
    return found


def _rule(site: Site, number: int) -> Rule | None:
    drop = _dropping(site)
    if drop is not None:
        return DropRule(site.arrays[0], drop, number)
    if site.module is not None and hooked(site.module):
        return None
    build = builder(site)
    readable = site.arrays or site.node.target is operator.getitem
    return build(site) if build is not None and readable else None


def _dropping(site: Site) -> Dropping | None:
    if not site.arrays or (site.module is not None and hooked(site.module)):
        return None
    shape, dtype = site.shape(site.arrays[0]), site.node.meta["val"].dtype
    if type(site.module) in _FEATURE_LAYERS:
        p, active = site.module.p, site.module.training
    elif site.node.op == "call_function" and site.node.target in _FEATURE:
        p, active = site.get("p", 1, 0.5), site.get("training", 2, True)
    else:
        return dropping(site.module, shape, dtype) if getattr(site.module, "training", 0) else None
    # Dropout1d and 3d take an array with an axis less for one sample without a batch axis.
    ranks = {"1d": (3,), "2d": (3, 4), "3d": (5,)}[_name(site)[-2:]]
    fits = active and p > 0 and len(shape) in ranks
    return FeatureDropout(p, shape, dtype) if fits else None


def _name(site: Site) -> str:
    target: Any = site.node.target if site.module is None else type(site.module)
    return str(target.__name__)


def _note_features(node: fx.Node, rule: Rule) -> None:
    """After a flatten, how many maps there are and how many features each has."""
    source = rule.reads[0]
    shape, before = node.meta["val"].shape, source.meta["val"].shape
    if len(shape) != 2 or isinstance(rule, Mixing):
        return
    maps = source.meta.get("maps", (before[1], 1))[0] if len(before) == 2 else before[1]
    node.meta["maps"] = (maps, shape[1] // maps)


def _maps(node: fx.Node) -> int:
    value = node.meta["val"]
    return int(node.meta.get("maps", (value.shape[1] if value.dim() > 1 else 1, 1))[0])


def _flow(found: Analysis) -> None:
    place = {node: i for i, node in enumerate(found.nodes)}
    support: dict[fx.Node, Maps] = {}
    for node in found.nodes:
        if not isinstance(node.meta.get("val"), Tensor):
            continue
        rule = found.rules.get(node)
        whole = Whole(_maps(node))
        support[node] = whole if rule is None else rule.support([support[s] for s in rule.reads])
    earliest = _earliest_draws(found, place)
    demand: dict[fx.Node, Maps] = {}
    wanted: dict[fx.Node, list[Maps]] = {}
    for node in reversed(found.nodes):
        if not isinstance(node.meta.get("val"), Tensor):
            continue
        at = place[node]
        rule = found.rules.get(node)
        asked = wanted.get(node, [])
        known = lambda number, at=at: earliest[number] < at  # noqa: E731
        opaque = any(_reads_all(user, node, found) for user in node.users)
        whole = Whole(_maps(node))
        total = whole if opaque or not asked else _rounded(union(asked).where(known))
        demand[node] = total
        found.needed[node] = _rounded(both(support[node], total))
        if rule is not None:
            for source, maps in zip(rule.reads, rule.demand(total), strict=True):
                wanted.setdefault(source, []).append(_rounded(maps))


def _rounded(maps: Maps) -> Maps:
    return Whole(maps.channels) if maps.density > _NEARLY_ALL else maps


def _reads_all(user: fx.Node, node: fx.Node, found: Analysis) -> bool:
    rule = found.rules.get(user)
    if rule is not None:
        return node not in rule.reads
    if isinstance(user.meta.get("val"), Tensor) or user.op == "output":
        return True
    # A tuple's parts may be read one by one (chunk), and a size is no value at all.
    return isinstance(user.meta.get("val"), (tuple, list)) and any(
        isinstance(v, Tensor) and found.rules.get(part) is None
        for v in user.meta["val"]
        for part in user.users
    )


def _earliest_draws(found: Analysis, place: dict[fx.Node, int]) -> dict[int, int]:
    """For each drop the last step before it that may draw random numbers of its own.

    A mask is drawn right after that step, in the order of the drops, so that every random number is
    what it would have been.
    """
    random = [place[n] for n in found.nodes if _may_be_random(n, found)]
    where = {
        rule.number: place[node] for node, rule in found.rules.items() if isinstance(rule, DropRule)
    }
    calm = all(rule.drop.fixed for rule in found.drops)
    earliest = {}
    for number, at in where.items():
        before = [r for r in random if r < at]
        earliest[number] = -1 if calm or not before else max(before)
    return earliest


def _may_be_random(node: fx.Node, found: Analysis) -> bool:
    if node.op in ("placeholder", "get_attr", "output") or node in found.rules:
        return False
    site = found.sites[node]
    if site.module is not None:
        harmless = isinstance(site.module, torch.nn.modules.dropout._DropoutNd)
        idle = harmless and not (site.module.training and site.module.p > 0)
        listed = builder(site) is not None
        return not (idle or listed) or hooked(site.module)
    return node.target not in FUNCTIONS and isinstance(node.meta.get("val"), Tensor)


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
    settings: Any = None  # Of the model's modules, when it was planned.
    last: Scope | None = None  # Of the last call.

    @property
    def skips(self) -> bool:
        """Whether anything is left out."""
        return any(form.packed for form in self.forms.values())

    def run(self, values: list[Tensor]) -> Any:
        """The model's output."""
        env: Env = {"inputs": values}
        self.last = scope = Scope(self.samples, self.block)
        for step in self.steps:
            env[step.slot] = step.run(env, scope)
            for slot in step.done_with:
                del env[slot]
        return env["output"]


def plan(captured: Captured, costs: Costs | None, device: torch.device) -> Schedule:
    """Choose, and write the steps down. None: by this machine's constants."""
    analysis = analyse(captured)
    if costs is None:
        costs = measured() if analysis.drops and device.type == "cpu" else Costs()
    choice = choose(analysis, costs)
    return _Writer(captured, analysis, choice, device).write()


class _Writer:
    def __init__(
        self, captured: Captured, analysis: Analysis, choice: Choice, device: torch.device
    ) -> None:
        self.captured, self.analysis, self.choice, self.device = captured, analysis, choice, device
        self.forms: dict[fx.Node, Form] = {}
        self.steps: list[Step] = []
        self.written: set[Any] = set()
        self.reads: list[list[Any]] = []
        self.fused: set[fx.Node] = set()

    def write(self) -> Schedule:
        tensors = [n for n in self.analysis.nodes if n.op == "placeholder"]
        place = {node: i for i, node in enumerate(self.analysis.nodes)}
        draws = _earliest_draws(self.analysis, place)
        self._draw([d for d in self.analysis.drops if draws[d.number] < 0])
        for i, node in enumerate(self.analysis.nodes):
            self._node(node, tensors)
            self._draw([d for d in self.analysis.drops if draws[d.number] == i])
        self._free()
        samples = self.analysis.samples or 0
        return Schedule(self.steps, samples, self._block(), self.analysis, self.choice, self.forms)

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
                scope.drawn[rule.number] = rule.drop.draw(self.device)

            self._add(("draw", rule.number), run, [])

    def _node(self, node: fx.Node, tensors: list[fx.Node]) -> None:
        value = node.meta.get("val")
        if node.op == "placeholder":
            at = tensors.index(node)
            self._add(node, lambda env, scope: env["inputs"][at], [])
        elif node.op == "get_attr":
            *path, name = str(node.target).split(".")
            owner = self.captured.owner.get_submodule(".".join(path))
            self._add(node, lambda env, scope: getattr(owner, name), [])
        elif node.op == "output":
            given = node.args[0]
            slots = {n: self._slot(n, WHOLE) for n in node.all_input_nodes}
            self._add(
                "output",
                lambda env, scope: fx.node.map_arg(given, lambda n: env[slots[n]]),
                list(slots.values()),
            )
        elif value is not None and not _has_tensor(value):
            self._add(node, lambda env, scope: value, [])
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
        maps = self.analysis.needed[node]
        if isinstance(rule, Mixing) or not rule.homogeneous:
            return Form(maps)
        gains = {self.forms.get(source, WHOLE).gain for source in rule.reads}
        gain = gains.pop() if len(gains) == 1 else 1.0
        return Form(maps, gain * rule.drop.gain if isinstance(rule, DropRule) else gain)

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
        same = user in self.choice.packed and self.analysis.needed[user] == form.maps
        site = self.analysis.sites[user]
        relu = isinstance(site.module, torch.nn.ReLU) or user.target in (
            torch.relu, torch.nn.functional.relu, "relu",
        )  # fmt: skip
        return user if same and relu and isinstance(rule, PerMap) else None

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


def _has_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_has_tensor, value))
    if isinstance(value, dict):
        return any(map(_has_tensor, value.values()))
    return isinstance(value, Tensor)

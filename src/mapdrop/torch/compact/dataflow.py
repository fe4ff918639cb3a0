"""What is known of a graph before anything is chosen: rules, which zeros flow down, who reads what.

Support is worked out from the inputs down and demand from the output up; what has to exist of an
array is what may be non-zero AND is read.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn.utils.parametrize import is_parametrized

from mapdrop.torch.compact.capture.capture import Captured
from mapdrop.torch.compact.capture.hooks import hooked
from mapdrop.torch.compact.drops import Dropping, FeatureDropout, dropping
from mapdrop.torch.compact.lattice import Kept, Maps, Whole, both, of_equal_count, union
from mapdrop.torch.compact.node import Site
from mapdrop.torch.compact.ops.linear import Mixing
from mapdrop.torch.compact.ops.registry import FUNCTIONS, builder
from mapdrop.torch.compact.ops.transfer import Rule
from mapdrop.torch.compact.storage import Env, Form, Scope

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


def analyse(captured: Captured, equal: bool = False) -> Analysis:
    """Rules, support and demand of every node.

    With `equal`, sets have as many maps in every sample, known ahead: for what is to be compiled.
    """
    nodes = list(captured.graph.nodes)
    found = Analysis(nodes, {n: Site(n, captured.owner) for n in nodes}, {}, [])
    for node in nodes:
        if not isinstance(node.meta.get("val"), Tensor) or node.op in ("placeholder", "get_attr"):
            continue
        site = found.sites[node]
        rule = _rule(site, len(found.drops))
        if isinstance(rule, DropRule):
            found.samples = found.samples or rule.kept_samples
            fits = rule.kept_samples == found.samples and (rule.kept.count or not equal)
            rule = rule if fits else None
        if rule is None:
            continue
        found.rules[node] = rule
        _note_features(node, rule)
        if isinstance(rule, DropRule):
            found.drops.append(rule)
    _flow(found)
    if equal:
        _even(found)
    return found


def _even(found: Analysis) -> None:
    """More maps than are needed, where that makes their number known."""
    for node in found.needed:
        rule = found.rules.get(node)
        maps = of_equal_count(found.needed[node])
        if rule is None or not rule.equal:
            maps = Whole(maps.channels)
        elif isinstance(rule, DropRule) and type(maps) is not Whole:
            maps = rule.kept  # No more: what else is there, it would have to make 0.
        found.needed[node] = maps
        if isinstance(rule, Mixing):
            rule.size.copies = 0  # Mapdrop's own kernels ask which maps they are.


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
    earliest = earliest_draws(found, place)
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


def earliest_draws(found: Analysis, place: dict[fx.Node, int]) -> dict[int, int]:
    """For each drop the last step before it that may draw random numbers of its own.

    A mask is drawn right after that step, in the order of the drops, so that every random number is
    what it would have been.
    """
    random = [place[n] for n in found.nodes if _may_be_random(n, found)]
    where = {
        rule.number: place[node] for node, rule in found.rules.items() if isinstance(rule, DropRule)
    }
    return {number: max((r for r in random if r < at), default=-1) for number, at in where.items()}


def _may_be_random(node: fx.Node, found: Analysis) -> bool:
    if node.op in ("placeholder", "get_attr", "output"):
        return False
    site = found.sites[node]
    if site.module is not None and is_parametrized(site.module):
        return True  # As DropConnect is, when its layer reads the weight.
    if node in found.rules:
        return False
    if site.module is not None:
        harmless = isinstance(site.module, torch.nn.modules.dropout._DropoutNd)
        idle = harmless and not (site.module.training and site.module.p > 0)
        listed = builder(site) is not None
        return not (idle or listed) or hooked(site.module)
    return node.target not in FUNCTIONS and isinstance(node.meta.get("val"), Tensor)

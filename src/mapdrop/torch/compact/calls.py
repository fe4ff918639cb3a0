"""Steps that call a node's operation: as the model does, or for some samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mapdrop.backends.torch.autodiff import dropped_part
from mapdrop.backends.torch.text import read_spec
from mapdrop.spec.local_spec import bound_to_rows
from mapdrop.torch.compact.packing.storage import StepState
from mapdrop.torch.graph.graph import Node, out_of_place, substituted
from mapdrop.torch.graph.program import Env
from mapdrop.torch.graph.registry import record_of
from mapdrop.torch.graph.sample_axis import Samples
from mapdrop.torch.graph.sample_rules import (
    expanded,
    own_drop,
    own_statistics,
    replicated,
    reshaped,
)

Call = Callable[[Env, Any], Any]


def call_for_samples(node: Node, samples: Samples, slots: Mapping[Node, Any]) -> Call:
    """Return a step that calls a node's operation for some samples."""
    record = record_of(node)
    rule = record.samples if record is not None else None
    if rule is own_drop:
        return _own_drop(node, samples, slots)
    if rule is replicated:
        return _by_factors(node, samples, slots)
    if rule in (reshaped, expanded):
        return _resized(node, samples, slots, expands=rule is expanded)
    call = call_of(out_of_place(node), slots)
    return _contiguous(call) if rule is own_statistics else call


def _contiguous(call: Call) -> Call:
    """Return a step whose result gets a contiguous gradient.

    For one sample with the features last in memory PyTorch's InstanceNorm has a wrong one.
    """

    def run(env: Env, state: StepState) -> Any:
        result: Tensor = call(env, state)
        if result.requires_grad:
            result.register_hook(Tensor.contiguous)
        return result

    return run


def _own_drop(node: Node, samples: Samples, slots: Mapping[Node, Any]) -> Call:
    """Return a step that drops by the coins that the samples have in the whole array."""
    source, seed, stream, pattern, p, options = node.args
    fixed = None if isinstance(p, Node) else read_spec(pattern, p, options)
    by_factors = _by_factors(node, samples, slots)

    def run(env: Env, state: StepState) -> Any:
        x, entries = env[slots[source]], state.kept.entries(samples)
        if entries is not None:
            spec, shards = fixed or read_spec(pattern, float(env[slots[p]]), options)
            bound = bound_to_rows(spec, node.shape, shards, samples.at.axis, entries)
            return dropped_part(x, env[slots[seed]], stream, bound)
        return by_factors(env, state)

    return run


def _by_factors(node: Node, samples: Samples, slots: Mapping[Node, Any]) -> Call:
    """Return a step that drops by what the operation makes of ones for all samples."""
    call, source = call_of(node, slots), node.args[0]

    def run(env: Env, state: StepState) -> Any:
        x = env[slots[source]]
        with torch.no_grad():
            factors = call({**env, slots[source]: x.new_ones(node.shape)}, state)
        return x * state.kept.move(factors, None, samples)

    return run


def _resized(node: Node, samples: Samples, slots: Mapping[Node, Any], expands: bool) -> Call:
    """Return a step for a call that has the number of samples among its sizes."""
    (source,) = (slots[n] for n in node.inputs)
    method = Tensor.expand if expands else Tensor.reshape

    def run(env: Env, state: StepState) -> Any:
        count = state.kept.count(samples.drops)
        return method(env[source], samples.at.shape(node.shape, count))

    return run


def call_of(node: Node, slots: Mapping[Node, Any]) -> Callable[[Env, Any], Any]:
    """Return a step that calls a node's operation with the values in the slots of its inputs."""
    target, args, kwargs = node.target, node.args, node.kwargs or {}
    assert target is not None
    nodes = [i for i, value in enumerate(args) if isinstance(value, Node)]
    if len(nodes) == _count((args, kwargs)):  # None is inside a list or a keyword.
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

"""Build a graph from what PyTorch's compiler captured, for inputs of certain shapes.

The captured operations are run on fake tensors, which have shapes and no values. That shows which
of them write into their inputs: whoever reads such an input later reads the result instead.
"""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from weakref import ref

import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from mapdrop.backends.torch._internals import (
    HIGHER_ORDER,
    DisableTorchFunction,
    FakeTensorMode,
    pytree,
    storage_of,
    version_of,
)
from mapdrop.torch.graph.graph import Graph, GraphError, Node

_STATE = re.compile(r"_(parameters|buffers)_")
_OWN = f"{Path(__file__).parents[2]}{os.sep}"  # No line of mapdrop's is the model's.
_CONSTANTS = (int, float, complex, str, torch.Size, torch.dtype, torch.device)
_FROM_SIZES = {"new_empty": torch.empty, "new_zeros": torch.zeros, "new_ones": torch.ones}


def is_state(name: str) -> bool:
    """Return whether an input of that name is a parameter or buffer of a layer."""
    return bool(_STATE.search(name))


def build(module: fx.GraphModule, inputs: Sequence[Any]) -> Graph:
    """Return the graph of a captured module, for such inputs. Raises GraphError.

    Args:
        module: what PyTorch's compiler passes to a backend.
        inputs: tensors, and sizes that vary.
    """
    builder = _Builder(module)
    with builder.mode, torch.set_grad_enabled(torch.is_grad_enabled()):
        values = iter(inputs)
        last = {source: node for node in module.graph.nodes for source in node.all_input_nodes}
        for node in module.graph.nodes:
            if node.op == "placeholder":
                builder.input(node, next(values))
            elif node.op != "output":
                builder.call(node)
                builder.forget(source for source in node.all_input_nodes if last[source] is node)
        (output,) = (node for node in module.graph.nodes if node.op == "output")
        outputs = builder.resolved(output.args[0])
    return Graph(tuple(builder.nodes), tuple(outputs), frozenset(builder.overwritten))


class _Builder:
    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.nodes: list[Node] = []
        self.values: dict[fx.Node, Any] = {}  # Fake tensors, and constants.
        self.found: dict[int, tuple[ref[Tensor], Node]] = {}  # By the `id` of the fake tensor.
        self.objects: dict[int, Node] = {}  # By the `id` of a result that is no tensor.
        self.overwritten: set[Node] = set()
        self.modes, self.region = _modes(), 0

    def input(self, node: fx.Node, value: Any) -> None:
        """Add an input. A size becomes a constant of the graph."""
        self.values[node] = value
        if not isinstance(value, Tensor):
            self._add()
            return
        fake: Any = self.mode.from_tensor(value, static_shapes=True)
        if id(fake) in self.found:  # The same tensor twice is two inputs.
            fake = fake.detach().requires_grad_(fake.requires_grad)
        state = isinstance(value, nn.Parameter) or is_state(str(node.target))
        self.values[node] = fake
        self._register(fake, self._add(value=_shape_of(fake), name=node.name, is_parameter=state))

    def call(self, node: fx.Node) -> None:
        """Add a call, if it does not just compute a size."""
        target = self._target(node)
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), self.values.__getitem__)
        target, args, kwargs = _without_likeness(target, args, kwargs)
        given = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
        versions, modes = [version_of(tensor) for tensor in given], _modes()
        try:
            result = getattr(target, "on_fake_tensors", target)(*args, **kwargs)
        except Exception as problem:  # Nobody knows what an operation raises on fake tensors.
            where = _line(node) or "its forward"
            raise GraphError(f"{where} cannot be followed: {node.target}: {problem}") from problem
        self.values[node] = result
        if isinstance(result, _CONSTANTS) or not (
            given or _has_tensors(result) or _modes() != modes
        ):
            return
        made = self._add(
            target=target,
            args=self._nodes_in(args),
            kwargs=self._nodes_in(kwargs),
            value=pytree.tree_map(lambda v: _shape_of(v) if isinstance(v, Tensor) else v, result),
            **_layer(node),
            where=_line(node),
            region=self._region(),
        )
        self._check_writes(made, result, given, versions)
        self._register(result, made)

    def forget(self, nodes: Iterable[fx.Node]) -> None:
        """Forget arrays that nobody reads any more: they are no second names of others."""
        for node in nodes:
            if isinstance(self.values[node], Tensor):
                del self.values[node]

    def resolved(self, value: Any) -> Any:
        """Return a captured module's output, with nodes."""
        return self._nodes_in(fx.node.map_arg(value, self.values.__getitem__))

    def _add(self, **fields: Any) -> Node:
        self.nodes.append(Node(len(self.nodes), **fields))
        return self.nodes[-1]

    def _register(self, result: Any, node: Node) -> None:
        """Note which node a result is of, and its parts until they are taken out."""
        if isinstance(result, Tensor):
            self.found[id(result)] = ref(result), node
            return
        if result is None:
            return
        self.objects[id(result)] = node
        for part in result if isinstance(result, (tuple, list)) else ():
            if isinstance(part, Tensor):
                self.found[id(part)] = ref(part), node

    def _region(self) -> int:
        """Return the present region: 0 where gradients and autocast are what they were."""
        if _modes() == self.modes:
            return 0
        self.region += self.nodes[-1].region == 0
        return self.region

    def _target(self, node: fx.Node) -> Callable[..., Any]:
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(self.module)
            return _Constant(self.mode, value)
        if node.op == "call_method":
            method: Callable[..., Any] = getattr(Tensor, str(node.target))
            return method
        if isinstance(node.target, HIGHER_ORDER):
            return _higher_order(node)
        assert callable(node.target)
        return node.target

    def _nodes_in(self, value: Any) -> Any:
        """Return arguments with nodes in the place of results."""
        if id(value) in self.objects:
            return self.objects[id(value)]
        if isinstance(value, slice):
            return slice(*(self._nodes_in(end) for end in (value.start, value.stop, value.step)))
        if isinstance(value, (tuple, list)):
            parts = [self._nodes_in(part) for part in value]
            return parts if isinstance(value, list) else tuple(parts)
        if isinstance(value, dict):
            return {key: self._nodes_in(part) for key, part in value.items()}
        return self._node_of(value) if isinstance(value, Tensor) else value

    def _node_of(self, tensor: Tensor) -> Node:
        known = self.found.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        raise GraphError("it reads a tensor that is not an input")

    def _check_writes(
        self, node: Node, result: Any, given: list[Tensor], versions: list[int]
    ) -> None:
        """Raise GraphError if a call wrote where somebody may read under another name."""
        for tensor, version in zip(given, versions, strict=True):
            if version_of(tensor) == version:
                continue
            before, storage = self._node_of(tensor), storage_of(tensor)
            if self._are_numbers([before, *self._named(storage)]):
                self.overwritten.update(self._named(storage))
                continue
            if len(self._named(storage)) > 1:
                raise GraphError(f"{node} overwrites an array that may have a second name")
            state = before.is_parameter or tensor.dim() < 2  # It is read when it is used.
            if result is not tensor and not state:
                raise GraphError(f"{node} overwrites a part of an array")
            if before.target is None and not state:
                raise GraphError(f"{node} overwrites an input")

    def _named(self, storage: int) -> list[Node]:
        """Return the nodes of all arrays in a storage that may still be read."""
        alive = [
            (tensor, node) for known, node in self.found.values() if (tensor := known()) is not None
        ]
        return [node for tensor, node in alive if storage_of(tensor) == storage]

    def _are_numbers(self, nodes: list[Node]) -> bool:
        """Return whether arrays are whole numbers that follow from no input, as indices are."""
        return all(
            node.is_array
            and not (node.value.is_floating_point() or node.value.is_complex())
            and _is_constant(node)
            for node in nodes
        )


def _is_constant(node: Node) -> bool:
    return node.target is not None and all(map(_is_constant, node.inputs))


def _without_likeness(target: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
    """Return a call that makes an array like another without reading that, as `new_empty` does."""
    make = _FROM_SIZES.get(getattr(target, "__name__", ""))
    if make is None:
        return target, args, kwargs
    like, *sizes = args
    return make, tuple(sizes), {"dtype": like.dtype, "device": like.device, **kwargs}


class _Constant:
    """Returns what a captured module holds besides its inputs."""

    def __init__(self, mode: Any, value: Any) -> None:
        self.mode, self.value = mode, value

    def __call__(self) -> Any:
        return self.value

    def on_fake_tensors(self) -> Any:
        """Return it with a fake tensor in the place of a tensor."""
        is_tensor = isinstance(self.value, Tensor)
        return self.mode.from_tensor(self.value, static_shapes=True) if is_tensor else self.value


class Checkpointed:
    """Calls a part of a model that is checkpointed: a captured module, or what is made of it.

    What PyTorch's own operator does without its compiler would keep all arrays.
    """

    __name__ = "checkpoint"

    def __call__(self, body: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the part, now and again in the backward pass."""
        return checkpoint(body, *args, **{"use_reentrant": False, **kwargs})

    def on_fake_tensors(self, body: fx.GraphModule, *args: Any, **kwargs: Any) -> Any:
        """Call the part itself."""
        return body(*args)


def _higher_order(node: fx.Node) -> Callable[..., Any]:
    """Return what does an operation that calls a captured part of the model."""
    name = str(getattr(node.target, "__name__", node.target))
    if name != "tag_activation_checkpoint":
        raise GraphError(f"it calls {name}, which mapdrop cannot follow")
    return Checkpointed()


def _modes() -> Any:
    """Return the modes that change what operations do without being arguments of them."""
    cast = [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in ("cpu", "cuda")]
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), cast


def _has_tensors(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value))


def _shape_of(fake: Tensor) -> Tensor:
    """Return a fake tensor of the present shape, which a later write does not change."""
    with DisableTorchFunction():
        return fake.detach()


def _layer(node: fx.Node) -> dict[str, str]:
    """Return the name and the class of the layer that calls; where the model does, of the call."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", None)
    path = re.sub(r"\._modules\['([^']+)'\]", r".\1", str(path))  # As PyTorch 2.8 writes it.
    name = re.sub(r"^L\['\w+'\]\.?", "", path)
    return {"name": name, "layer": kind.__name__} if name and kind else {"name": node.name}


def _line(node: fx.Node) -> str:
    every = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    found = [":".join(line) for line in every if not line[0].startswith(_OWN)]
    return found[-1] if found else ""

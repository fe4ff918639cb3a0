"""Exported training graphs, made fit for inference."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

import mapdrop.backends.torch  # noqa: F401 - without which there is no torch.ops.mapdrop.


def remove_drops(module: GraphModule) -> GraphModule:
    """Remove every drop of mapdrop from a model that was exported in training mode.

    Such a model drops for ever: `eval()` does not reach its graph, and PyTorch's passes for this
    (torchao's `move_exported_model_to_eval`) know only PyTorch's own dropout. What made the seeds
    goes with the drops. Other operations, as BatchNorm in training, stay.

    Args:
        module: a graph of operators, as `torch.export.export(...).module()` returns, with any
            graphs inside it. It is changed in place.

    Returns:
        The module.

    Raises:
        TypeError: for something else.
        ValueError: for a residual branch that was exported for the kept samples only. The module is
            then as it was.

    Examples:
        >>> net = nn.Sequential(nn.Linear(4, 4), mapdrop.torch.Dropout(0.5))
        >>> x = torch.ones(2, 4)
        >>> module = torch.export.export(net.train(), (x,)).module()
        >>> torch.equal(mapdrop.torch.remove_drops(module)(x), net[0](x))
        True
    """
    if not isinstance(module, GraphModule):
        raise TypeError(
            f"remove_drops takes a torch.fx.GraphModule, not {type(module).__name__}: an exported "
            "program has program.module(), and a model that was not exported has model.eval()"
        )
    graphs = [part for part in module.modules() if isinstance(part, GraphModule)]
    for part in graphs:
        if part.graph.find_nodes(op="call_function", target=torch.ops.mapdrop.kept_rows.default):
            raise ValueError(
                "a residual branch was exported for a known number of kept samples, which its "
                "graph cannot run for all: export the model in eval mode"
            )
    for part in graphs:
        drops = [
            node
            for overload in (torch.ops.mapdrop.drop.default, torch.ops.mapdrop.drop.scheduled)
            for node in part.graph.find_nodes(op="call_function", target=overload)
        ]
        for node in drops:
            _remove(node)
        if drops:
            part.recompile()
    return module


_COPIES = (torch.ops.aten.copy_.default, torch.ops.aten.copy.default)


def _remove(drop: Node) -> None:
    """Put the input of a drop in its place."""
    x, *made = drop.all_input_nodes  # The seed, and a scheduled rate.
    for user in [*drop.users]:
        if user.target in _COPIES and user.args[:2] == (x, drop):  # A drop in place.
            user.replace_all_uses_with(x)
            user.graph.erase_node(user)
    drop.replace_all_uses_with(x)
    drop.graph.erase_node(drop)
    removed: set[Node] = set()
    for node in made:
        _remove_unused(node, removed)


def _remove_unused(node: Node, removed: set[Node]) -> None:
    """Remove a node that nothing but assertions uses, and what then is unused of its inputs.

    What has another effect, as a counter that is raised, stays.
    """
    checks = [*node.users]
    ours = str(node.target).startswith("mapdrop.")
    used = not all("_assert" in str(check.target) for check in checks)
    if node in removed or used or (node.is_impure() and not ours):
        return
    inputs = node.all_input_nodes
    for unused in (*checks, node):
        node.graph.erase_node(unused)
    removed.add(node)
    for each in inputs:
        _remove_unused(each, removed)

"""Switch on what drops in a model, and all else to eval mode, for a while."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by
from torch.overrides import TorchFunctionMode

from mapdrop.backends.torch._internals import DropoutBase
from mapdrop.torch.graph.replicas import RandomStates
from mapdrop.torch.layers import Drop

_DROPS, _ATTENDS = re.compile("(?i)drop|stochastic_?depth"), re.compile("(?i)attention")
_FUNCTIONS = {
    F.dropout: 2,
    F.dropout1d: 2,
    F.dropout2d: 2,
    F.dropout3d: 2,
    F.alpha_dropout: 2,
    F.feature_alpha_dropout: 2,
    F.multi_head_attention_forward: 13,
    torch.dropout: 2,
    torch.alpha_dropout: 2,
    torch.feature_dropout: 2,
    torch.feature_alpha_dropout: 2,
}
"""What drops if an argument says so: its place. Its name is `training`, or `train`."""


def drops(module: nn.Module) -> bool:
    """Return whether all that training mode changes in a module is that it drops.

    Other libraries' layers are known by their names: those that have no parameters, and attention,
    which hands its rate to a function in training mode. What is inside them is asked by itself.
    """
    if isinstance(module, (DropoutBase, nn.RNNBase)):
        return True
    name = type(module).__name__
    alone = next(module.children(), None) is None and next(module.parameters(), None) is None
    return bool(_ATTENDS.search(name)) or (alone and bool(_DROPS.search(name)))


@contextmanager
def only_drops_active(model: nn.Module, devices: Sequence[torch.device]) -> Iterator[None]:
    """Switch on what drops, and all else to eval mode; leave everything as it was in the end.

    Layers of a `seeded` model draw from PyTorch's generators meanwhile, as all others do.
    """
    modules = list(model.modules())
    flags = [module.training for module in modules]
    sources = [(module, module.source) for module in modules if isinstance(module, Drop)]
    fast = torch.backends.mha.get_fastpath_enabled()
    states = RandomStates(devices)
    before = states.now()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # It knows no dropout.
        for module in modules:
            module.training = drops(module)
        for layer, _ in sources:
            layer.source = None
        yield
    finally:
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
        for layer, source in sources:
            layer.source = source
        torch.backends.mha.set_fastpath_enabled(fast)
        states.set(before)


class FunctionsActive(TorchFunctionMode):
    """Switch on the drops that a model calls as functions."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call a function."""
        args, kwargs = activated(function, args, kwargs or {})
        return function(*args, **kwargs)


def activate(module: fx.GraphModule) -> None:
    """Switch on the drops that a captured model calls as functions."""
    for part in module.modules():
        if isinstance(part, fx.GraphModule):
            for node in part.graph.nodes:
                if node.op == "call_function":
                    node.args, node.kwargs = activated(node.target, node.args, node.kwargs)
            part.recompile()


def activated(function: Any, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments by which a function drops."""
    place = _FUNCTIONS.get(function)
    if place is None:
        return tuple(args), dict(kwargs)
    if len(args) > place:
        return (*args[:place], True, *args[place + 1 :]), dict(kwargs)
    name = "training" if function.__module__ == F.__name__ else "train"
    return tuple(args), {**kwargs, name: True}

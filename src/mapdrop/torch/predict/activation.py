"""Switch on what drops in a model, and all else to eval mode, for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by
from torch.overrides import TorchFunctionMode

from mapdrop.torch.drop_layers import drops_inside, is_drop_layer
from mapdrop.torch.graph.replicas import RandomStates
from mapdrop.torch.layers import Drop

_FUNCTIONS: dict[Any, tuple[int, str]] = {
    **dict.fromkeys(
        (
            *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
            *(F.alpha_dropout, F.feature_alpha_dropout),
        ),
        (2, "training"),
    ),
    **dict.fromkeys(
        (
            *(torch.dropout, torch.dropout_, torch.alpha_dropout, torch.alpha_dropout_),
            *(torch.feature_dropout, torch.feature_dropout_, torch.feature_alpha_dropout),
            *(torch.feature_alpha_dropout_, torch.native_dropout),
            *(torch.ops.aten.dropout, torch.ops.aten.dropout.default),
            *(torch.ops.aten.native_dropout, torch.ops.aten.native_dropout.default),
        ),
        (2, "train"),
    ),
    F.multi_head_attention_forward: (13, "training"),
}
"""What drops if an argument says so: the argument's place and its name."""


def drops(module: nn.Module) -> bool:
    """Return whether all that training mode changes in a module is that it drops.

    A subclass of attention may do more in it. Its attention is a call of a function, which is
    switched on by itself.
    """
    if isinstance(module, nn.MultiheadAttention) and type(module) is not nn.MultiheadAttention:
        return False
    return is_drop_layer(module) or drops_inside(module)


@contextmanager
def only_drops_active(
    model: nn.Module,
    devices: Sequence[torch.device],
    also: Callable[[nn.Module], bool] = lambda module: False,
) -> Iterator[None]:
    """Switch on what drops, and all else to eval mode; leave everything as it was in the end.

    Layers of a `seeded` model draw from PyTorch's generators meanwhile, as all others do.

    Args:
        model: is changed.
        devices: whose generators are left as they were, besides the CPU's.
        also: which other modules are to be in training mode.
    """
    modules = list(model.modules())
    flags = [module.training for module in modules]
    sources = [(module, module.source) for module in modules if isinstance(module, Drop)]
    fast = torch.backends.mha.get_fastpath_enabled()
    states = RandomStates(devices)
    before = states.now()
    buffers: list[tuple[nn.Module, str, Tensor, Tensor]] = []
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # It knows no dropout.
        if any(flags):
            model.eval()  # A module may do more in it.
        active = [module for module in modules if drops(module) or also(module)]
        for module in active:
            module.training = True
        for module in active:
            named = module.named_buffers(recurse=False)
            buffers += [(module, name, buffer, buffer.clone()) for name, buffer in named]
        for layer, _ in sources:
            layer.source = None
        yield
    finally:
        if flags[0]:
            model.train()
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
        for module, name, buffer, value in buffers:
            with torch.no_grad():
                setattr(module, name, buffer.copy_(value))
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
    place, name = _FUNCTIONS.get(function, (len(args), ""))
    if len(args) > place:
        return (*args[:place], True, *args[place + 1 :]), dict(kwargs)
    # Where nothing is said the function's default holds, in eval mode, too.
    return tuple(args), {**kwargs, name: True} if name in kwargs else dict(kwargs)

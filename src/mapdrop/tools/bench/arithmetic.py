"""Count the multiplications of a training step, and those that remain without dropped maps."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from typing import Any

from torch import Tensor, nn

_FORWARD, _WEIGHTS, _INPUTS = 1, 1, 1  # A convolution's passes, all of the same multiplications.
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def bound(
    net: nn.Module, x: Tensor, p: float, reads: Collection[str], makes: Collection[str]
) -> float:
    """Return how many times fewer multiplications a step has without what is dropped.

    Args:
        net: a network of convolutions and Linear layers; others are not counted.
        x: what it is called with.
        p: rate at which whole maps drop.
        reads: names of the layers that read maps of which some were dropped.
        makes: names of the layers that make maps of which some are dropped later.

    Raises:
        KeyError: for a name of no convolution or Linear layer that ran.
    """
    dense = multiplications(net, x)
    left = {name: float(number) for name, number in dense.items()}
    for name in (*reads, *makes):
        left[name] *= 1 - p
    return sum(dense.values()) / sum(left.values())


def multiplications(net: nn.Module, x: Tensor) -> dict[str, int]:
    """Count those of every convolution and Linear layer in a training step, by the layer's name."""
    found: dict[str, int] = {}

    def count(name: str, layer: nn.Module) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
            passes = _FORWARD + _WEIGHTS + (_INPUTS if inputs[0].requires_grad else 0)
            found[name] = found.get(name, 0) + passes * y.numel() * _each(layer)

        return layer.register_forward_hook(hook)

    layers = [(n, m) for n, m in net.named_modules() if isinstance(m, (*_CONVOLUTIONS, nn.Linear))]
    handles = [count(name, layer) for name, layer in layers]
    try:
        net(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _each(layer: nn.Module) -> int:
    """Return the multiplications for one value of the output."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if not isinstance(layer, _CONVOLUTIONS):
        raise TypeError(f"{type(layer).__name__} is not counted")
    return layer.in_channels // layer.groups * prod(layer.kernel_size)


def beside_drops(net: nn.Sequential, drops: type[nn.Module]) -> tuple[list[str], list[str]]:
    """Name the layers of a chain that read dropped maps, and those whose maps are dropped."""
    names = [name for name, layer in net.named_children() if isinstance(layer, _CONVOLUTIONS)]
    at = [int(name) for name, layer in net.named_children() if isinstance(layer, drops)]
    reads = [name for name in names if any(place < int(name) for place in at)]
    makes = [name for name in names if any(place > int(name) for place in at)]
    return reads, makes

"""One seed for a whole model, so that a run's masks can be had again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn

from mapdrop.backends.torch._internals import WRAPPERS
from mapdrop.backends.torch.source import Source
from mapdrop.spec import seed as seeds
from mapdrop.torch.layers import Drop

Model = TypeVar("Model", bound=nn.Module)


def seeded(model: Model, seed: int) -> Model:
    """Make the masks of every drop layer in `model` a function of (seed, layer's name, step).

    Each layer's qualified name is its stream, and its n-th call that drops has step n, whoever
    calls it: the model's forward, another method, a training loop of parts. A layer that is called
    twice drops anew. What is recomputed in backward sees the mask of its own forward: each call
    also draws a number from PyTorch's generator, by which a recomputation that restores the
    generator, as `torch.utils.checkpoint` does, finds its step. See `replay` for forwards that are
    run again by other means.

    Each layer's count is in the state dict (`mapdrop_step`): a run that is stopped and resumed
    continues with the masks it would have had. State dicts of seeded and unseeded models fit each
    other; without a count a layer starts at 0. Copies of the model or of parts go on by themselves.

    Args:
        model: changed in place; its layers of `mapdrop.torch` at any depth. Wrappers
            (torch.compile, DistributedDataParallel, FSDP, checkpoint_wrapper) leave the names as
            they are.
        seed: a whole number from 0 to 2**64 - 1. Given again, the counts start at 0 again.

    Returns:
        The model.

    Raises:
        TypeError: for a seed that is no whole number.
        ValueError: for one that is out of range.
        RuntimeError: by a layer, where a recomputation does not say of which call it is (under
            `preserve_rng_state=False`, say), in DataParallel, while a CUDA graph is captured, and
            where a model that was moved to the meta device is the base of an ensemble.

    Examples:
        >>> net = mapdrop.torch.seeded(nn.Sequential(mapdrop.torch.Dropout(0.5)), seed=7)
        >>> list(net.state_dict())
        ['0.mapdrop_step']
    """
    number = seeds.check_uint64(seed, "seed")
    for name, layer in named_layers(model).items():
        layer.source = Source(number, name)
    return model


def named_layers(model: nn.Module) -> dict[str, Drop]:
    """Return the drop layers of a model by their names, in which wrappers do not count."""
    found: dict[Drop, str] = {}
    for name, layer in _layers(model):
        found.setdefault(layer, name)
    return {name: layer for layer, name in found.items()}


def _layers(module: nn.Module, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Drop]]:
    """Drop layers with their names, in which wrappers do not count."""
    if isinstance(module, Drop):
        yield ".".join(path), module
    wrapped = _wrapped(module)
    for name, child in module.named_children():
        yield from _layers(child, path if name == wrapped else (*path, name))


def _wrapped(module: nn.Module) -> str | None:
    """Return the name of the module that a wrapper of PyTorch's calls; None for another module."""
    kinds = (k.__name__ for k in type(module).__mro__ if k.__module__.split(".")[0] == "torch")
    name = next((WRAPPERS[kind] for kind in kinds if kind in WRAPPERS), None)
    if name is not None and name not in dict(module.named_children()):
        raise RuntimeError(
            f"a {type(module).__name__} of PyTorch {torch.__version__} has no {name}, so the names "
            "of its layers, from which their masks follow, are not known: seed the model inside"
        )
    return name

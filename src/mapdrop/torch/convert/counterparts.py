"""Which layer of mapdrop drops as a layer of another library does, with the same settings."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop._layers.patterns import SPACE, BlockSize
from mapdrop.torch.drop_layers import RATES
from mapdrop.torch.layers import (
    Drop,
    DropBlock2d,
    DropBlock3d,
    Dropout,
    DropPath,
    SpatialDropout1d,
    SpatialDropout2d,
    SpatialDropout3d,
)

Key = type[nn.Module] | str
Make = Callable[[Any], nn.Module]

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
# Settings of other libraries, with the value at which they change nothing.
_NEUTRAL = {
    "inplace": False,
    "scale_by_keep": True,
    "mode": "row",
    "gamma_scale": 1.0,
    "with_noise": False,
    "batchwise": False,
}


class NoCounterpartError(ValueError):
    """A layer has a setting that no layer of mapdrop has."""


def settings(layer: nn.Module) -> dict[str, Any]:
    """Return a layer's own attributes: all that other modules do not have, but private ones."""
    own = vars(layer).items()
    return {k: v for k, v in own if k not in _OF_EVERY_MODULE and not k.startswith("_")}


def like(kind: type[Drop], old: nn.Module, *handled: str) -> Drop:
    """Return a layer of `kind` with the settings of `old`, whatever they are called there.

    Args:
        kind: a layer that needs no pattern.
        old: a layer of any library.
        handled: settings that the caller sees to.

    Raises:
        NoCounterpartError: for a setting that is not known, because it might change what is
            dropped.
    """
    given = {k: v for k, v in settings(old).items() if k not in handled}
    rates = [given.pop(name) for name in RATES if name in given]
    if len(rates) != 1:
        raise NoCounterpartError(f"one of its attributes is its rate ({', '.join(RATES)})")
    try:
        new = kind(rates[0])
    except (TypeError, ValueError) as problem:
        raise NoCounterpartError(str(problem)) from None
    if "block_size" in given and isinstance(new, BlockSize):
        new.block_size = given.pop("block_size")
    new.inplace = bool(given.pop("inplace", False))
    if not given.pop("scale_by_keep", True):
        new.scale = None
    unknown = [f"{k}={v!r}" for k, v in given.items() if k not in _NEUTRAL or v != _NEUTRAL[k]]
    if unknown:
        raise NoCounterpartError(f"{kind.__name__} has nothing for {', '.join(unknown)}")
    return new


def _drop_path(old: Any) -> Drop:
    """Return the counterpart of a layer that is known by its name, if it drops whole samples."""
    new = like(DropPath, old)
    _check_drops_samples(old)
    return new


def _stochastic_depth(old: Any) -> Drop:
    """Return the counterpart of torchvision's layer, or of another of its name."""
    if settings(old).get("mode") == "batch":
        path = like(DropPath, old, "mode")
        new = Drop("... ->", path.p, scale=path.scale, inplace=path.inplace)
    else:
        new = like(DropPath, old)
    _check_drops_samples(old)
    return new


def _check_drops_samples(old: nn.Module) -> None:
    """Raise NoCounterpartError for a layer that does not drop whole samples of its input."""
    layer, x = copy.deepcopy(old).train(), torch.ones(64, 3, 2)
    with torch.random.fork_rng([]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        try:
            y = layer(x)
        except Exception as problem:  # It is somebody's code, and may take more than one input.
            raise NoCounterpartError(f"it does not drop whole samples: {problem}") from None
    alike = (
        isinstance(y, Tensor) and y.shape == x.shape and torch.equal(y, y[:, :1, :1].expand_as(y))
    )
    if not alike:
        raise NoCounterpartError("it does not drop whole samples")


def _drop_block(kind: type[Drop]) -> Make:
    """Return what makes the counterpart of torchvision's layer, or of timm's, old or new."""

    def make(old: nn.Module) -> Drop:
        given = settings(old)
        new = like(kind, old, "eps", "fast", "couple_channels")
        if new.scale is not None:
            new.scale = "batch"
        # timm's centres may lie anywhere, but in its older slow variant.
        if given.get("fast", "couple_channels" in given):
            new.region = "full"
        if not given.get("couple_channels", False):
            return new
        space = SPACE[new.dims]
        coupled = Drop(f"b c {space} -> b {space}", new.p, block=dict(new.block))
        coupled.region, coupled.scale, coupled.inplace = new.region, new.scale, new.inplace
        return coupled

    return make


COUNTERPARTS: Mapping[Key, Make | type[Drop]] = {
    nn.Dropout: Dropout,
    nn.Dropout1d: SpatialDropout1d,
    nn.Dropout2d: SpatialDropout2d,
    nn.Dropout3d: SpatialDropout3d,
    "*DropPath": _drop_path,
    "StochasticDepth": _stochastic_depth,
    "DropBlock2d": _drop_block(DropBlock2d),
    "DropBlock3d": _drop_block(DropBlock3d),
}
"""PyTorch's own layers by class; those of other libraries, which may not be installed, by name."""

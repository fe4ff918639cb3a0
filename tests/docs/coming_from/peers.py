"""Stand-ins for torchvision, timm and DINOv2, which cannot be installed beside the pinned PyTorch.

The page's old calls import them by name, so the tests put these modules in `sys.modules` while a
block runs. Each is the algorithm that was published, in our words, read on 2026-11-26 in

    torchvision  pytorch/vision, torchvision/ops/drop_block.py (aee9bd1) and stochastic_depth.py
    timm         huggingface/pytorch-image-models, timm/layers/drop.py, in two versions: before
                 1.0.23 (with drop_block_fast_2d), and from it on (couple_channels)
    DINOv2       facebookresearch/dinov2, dinov2/layers/block.py

What is here draws and scales as they do; options that the page doesn't name are left out. The
samples' axis comes first, and channels are before space, as everywhere in both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional


def module(name: str, **members: object) -> ModuleType:
    """A module that has these members."""
    made = ModuleType(name)
    vars(made).update(members)
    return made


def layer(drop: Callable[..., Tensor]) -> type[nn.Module]:
    """What both libraries make of a function: a module, active in training only."""

    class Layer(nn.Module):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__()
            self.arguments, self.options = arguments, options

        def forward(self, x: Tensor) -> Tensor:
            return drop(x, *self.arguments, **self.options) if self.training else x

    return Layer


def centre_rate(p: float, side: int, h: int, w: int) -> float:
    """The closed form of the DropBlock paper (arXiv 1810.12890), which is near the rate p."""
    return p * h * w / side**2 / ((h - side + 1) * (w - side + 1))


def outside_blocks(centres: Tensor, side: int) -> Tensor:
    """0 in the blocks around the centres that are 1, and 1 elsewhere. `side` is odd."""
    return 1 - functional.max_pool2d(centres, side, stride=1, padding=side // 2)


def torchvision_drop_block(x: Tensor, p: float, block_size: int) -> Tensor:
    """Centres where the whole block fits, in each map; the kept are counted in x's dtype."""
    h, w = x.shape[2:]
    side = min(block_size, h, w)
    if side % 2 == 0:
        raise ValueError(f"block size should be odd, not {side}")
    fits = x.new_empty(*x.shape[:2], h - side + 1, w - side + 1)
    fits.bernoulli_(centre_rate(p, side, h, w))
    kept = outside_blocks(functional.pad(fits, [side // 2] * 4), side)
    return x * kept * (kept.numel() / (kept.sum() + 1e-6))


def timm_scaled(x: Tensor, kept: Tensor) -> Tensor:
    """timm counts what is kept in float32."""
    return x * kept * (kept.numel() / (kept.float().sum() + 1e-7)).to(x.dtype)


def old_timm_drop_block(x: Tensor, drop_prob: float, block_size: int) -> Tensor:
    """Centres where the whole block fits, in each map, from uniform numbers in x's dtype."""
    h, w = x.shape[2:]
    side = min(block_size, h, w)
    reach = side // 2
    fits = functional.pad(x.new_ones(1, 1, h - side + 1, w - side + 1), [reach] * 4)
    gamma = centre_rate(drop_prob, side, h, w)
    stay = (2 - gamma - fits + torch.rand_like(x)) >= 1
    return timm_scaled(x, outside_blocks((~stay).to(x.dtype), side))


def old_timm_drop_block_fast(x: Tensor, drop_prob: float, block_size: int) -> Tensor:
    """Centres up to the edge, in each map; blocks there are cut off."""
    side = min(block_size, *x.shape[2:])
    centres = torch.empty_like(x).bernoulli_(centre_rate(drop_prob, side, *x.shape[2:]))
    return timm_scaled(x, outside_blocks(centres, side))


def timm_drop_block(
    x: Tensor, drop_prob: float = 0.1, block_size: int = 7, couple_channels: bool = True
) -> Tensor:
    """Centres up to the edge, and one mask for all maps of a sample unless told otherwise."""
    side = min(block_size, *x.shape[2:])
    maps = 1 if couple_channels else x.shape[1]
    centres = x.new_empty(x.shape[0], maps, *x.shape[2:])
    centres.bernoulli_(centre_rate(drop_prob, side, *x.shape[2:]))
    return timm_scaled(x, outside_blocks(centres, side))


def stochastic_depth(x: Tensor, p: float, mode: str) -> Tensor:
    """One coin for each row (a sample) or for the batch; the noise is scaled in x's dtype."""
    coins = {"row": x.shape[0], "batch": 1}[mode]
    noise = x.new_empty(coins, *[1] * (x.ndim - 1)).bernoulli_(1 - p)
    return x * noise.div_(1 - p)


def drop_path(x: Tensor, drop_prob: float = 0.0) -> Tensor:
    """timm's, which is torchvision's for rows."""
    return stochastic_depth(x, drop_prob, "row")


def drop_add_residual_stochastic_depth(
    x: Tensor, residual_func: Callable[[Tensor], Tensor], sample_drop_ratio: float = 0.0
) -> Tensor:
    """Run a branch for the first of the shuffled samples, a number of them rounded down."""
    b = x.shape[0]
    kept = max(int(b * (1 - sample_drop_ratio)), 1)
    chosen = torch.randperm(b)[:kept]
    added = residual_func(x[chosen]).flatten(1).to(x.dtype)
    return torch.index_add(x.flatten(1), 0, chosen, added, alpha=b / kept).view_as(x)


TORCHVISION = module(
    "torchvision",
    ops=module(
        "torchvision.ops",
        drop_block2d=torchvision_drop_block,
        DropBlock2d=layer(torchvision_drop_block),
        stochastic_depth=stochastic_depth,
        StochasticDepth=layer(stochastic_depth),
    ),
)
OLD_TIMM = module(
    "timm",
    layers=module(
        "timm.layers",
        drop=module(
            "timm.layers.drop",
            drop_block_2d=old_timm_drop_block,
            drop_block_fast_2d=old_timm_drop_block_fast,
        ),
    ),
)
TIMM = module(
    "timm",
    layers=module(
        "timm.layers",
        drop_block_2d=timm_drop_block,
        DropBlock2d=layer(timm_drop_block),
        DropPath=layer(drop_path),
    ),
)


DINOV2 = module(
    "dinov2",
    layers=module(
        "dinov2.layers",
        block=module(
            "dinov2.layers.block",
            drop_add_residual_stochastic_depth=drop_add_residual_stochastic_depth,
        ),
    ),
)


@contextmanager
def standing_in(top: ModuleType) -> Iterator[None]:
    """While this lasts, the module and those inside it are what is imported under their names."""
    parts = {part.__name__: part for part in _parts(top)}
    before = {name: sys.modules.pop(name) for name in parts if name in sys.modules}
    sys.modules.update(parts)
    try:
        yield
    finally:
        for name in parts:
            del sys.modules[name]
        sys.modules.update(before)


def _parts(top: ModuleType) -> Iterator[ModuleType]:
    yield top
    for member in vars(top).values():
        if isinstance(member, ModuleType):
            yield from _parts(member)

"""Small residual models of many families, each for any layer that drops samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.torch import Dropout, SpatialDropout2d
from tests.torch.compact.agreement import pixels
from tests.torch.compact.residual_drops import Inlined, Residual
from tests.torch.compact.residual_layers import (
    HEADS,
    Attention,
    AttentionByHand,
    ConvNeXtBranch,
    LayerAttention,
    Mlp,
    Modulated,
    SqueezeExcite,
    WindowAttention,
)

WIDTH, SIDE, PATCH = 16, 12, 4
TOKENS = (SIDE // PATCH) ** 2
MakeDrop = Callable[[], nn.Module]


class Tokens(nn.Module):
    """Patches of images (b, 3, H, W) as tokens (b, n, c)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class Net(nn.Module):
    """A stem, blocks and a head; the blocks get all further inputs too."""

    def __init__(self, stem: nn.Module, blocks: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = stem, nn.ModuleList(blocks), head

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Return the head's output of an image (b, 3, H, W)."""
        y = self.stem(x)
        for block in self.blocks:
            y = block(y, *others)
        return self.head(y)  # type: ignore[no-any-return]


def transformer(blocks: list[nn.Module]) -> Net:
    """Return blocks of tokens (b, n, c), with a norm and a Linear after them."""
    return Net(Tokens(), blocks, nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)))


def vit(drop: MakeDrop, depth: int = 2) -> Net:
    parts: list[nn.Module] = []
    for _ in range(depth):
        parts += [Residual(Attention(WIDTH), drop()), Residual(Mlp(WIDTH), drop())]
    return transformer(parts)


def masked_vit(drop: MakeDrop) -> Net:
    branches: list[nn.Module] = [AttentionByHand(WIDTH), Mlp(WIDTH), AttentionByHand(WIDTH)]
    return transformer([Residual(branch, drop()) for branch in branches])


def inlined(drop: MakeDrop) -> Net:
    return transformer([Inlined(Attention(WIDTH), drop()), Inlined(Mlp(WIDTH), drop())])


def layer_attention(batch_first: bool) -> Callable[[MakeDrop], Net]:
    def make(drop: MakeDrop) -> Net:
        attention = LayerAttention(WIDTH, batch_first)
        return transformer([Residual(attention, drop()), Residual(Mlp(WIDTH), drop())])

    return make


def shared_drop(drop: MakeDrop) -> Net:
    """Return a ViT whose blocks each have one drop for both branches."""
    one, other = drop(), drop()
    pairs = (Attention(WIDTH), one), (Mlp(WIDTH), one), (Attention(WIDTH), other)
    return transformer([Residual(*pair) for pair in pairs])


def nested(drop: MakeDrop) -> Net:
    """Return a net with a residual block inside a branch."""
    inner = nn.Sequential(nn.LayerNorm(WIDTH), Residual(Mlp(WIDTH), drop()), Mlp(WIDTH))
    return transformer([Residual(inner, drop()), Residual(Attention(WIDTH), drop())])


def frozen(drop: MakeDrop) -> Net:
    net = vit(drop)
    for block in net.blocks[:2]:
        block.requires_grad_(False)
    return net


def values_dropped_inside(drop: MakeDrop) -> Net:
    branch = nn.Sequential(Mlp(WIDTH), Dropout(0.4), nn.Linear(WIDTH, WIDTH), Dropout(0.3))
    return transformer([Residual(branch, drop()), Residual(Mlp(WIDTH), drop())])


class DiTBlock(nn.Module):
    """DiT's block: what modulates both branches is one Linear of the conditioning (b, c)."""

    def __init__(self, drop: MakeDrop) -> None:
        super().__init__()
        self.modulation = nn.Linear(WIDTH, 6 * WIDTH)
        self.attention = Residual(Modulated(WIDTH, Attention(WIDTH)), drop())
        self.mlp = Residual(Modulated(WIDTH, Mlp(WIDTH)), drop())

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        parts = self.modulation(F.silu(condition)).chunk(6, dim=1)
        return self.mlp(self.attention(x, *parts[:3]), *parts[3:])  # type: ignore[no-any-return]


def dit(drop: MakeDrop) -> Net:
    return transformer([DiTBlock(drop), DiTBlock(drop)])


class ChannelsLast(nn.Module):
    """A convolution of images (b, 3, H, W) to (b, H, W, c)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


def swin(drop: MakeDrop) -> Net:
    side, parts = SIDE // 2, list[nn.Module]()
    for shifted in (False, True):
        attention = WindowAttention(WIDTH, side, shifted=shifted)
        parts += [Residual(attention, drop()), Residual(Mlp(WIDTH), drop())]
    return Net(ChannelsLast(), parts, nn.Linear(WIDTH, 5))


def convnet(blocks: list[nn.Module]) -> Net:
    """Return blocks of maps (b, c, H, W), with a convolution before and a Linear after them."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))
    return Net(nn.Conv2d(3, WIDTH, 2, 2), blocks, head)


def convnext(drop: MakeDrop) -> Net:
    return convnet([Residual(ConvNeXtBranch(WIDTH), drop()) for _ in range(3)])


def groups(width: int) -> nn.Module:
    return nn.GroupNorm(4, width)


def resnet(norm: Callable[[int], nn.Module]) -> Callable[[MakeDrop], Net]:
    """Return what makes a ResNet whose second block has half the size and twice the maps."""

    def block(drop: MakeDrop, width: int, stride: int) -> nn.Module:
        first = nn.Conv2d(WIDTH, width, 3, stride, padding=1, bias=False)
        second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        branch = nn.Sequential(first, norm(width), nn.ReLU(), second, norm(width))
        skip = nn.Sequential(nn.Conv2d(WIDTH, width, 1, stride), norm(width))
        return Residual(branch, drop(), skip if stride > 1 else None, nn.ReLU())

    return lambda drop: convnet([block(drop, WIDTH, 1), block(drop, 2 * WIDTH, 2)])


def preactivation(*inside: Callable[[], nn.Module]) -> Callable[[MakeDrop], Net]:
    """Return what makes a pre-activation ResNet with layers between its convolutions."""

    def branch() -> nn.Module:
        first, second = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))
        middle = [groups(WIDTH), nn.ReLU(), *(layer() for layer in inside)]
        return nn.Sequential(groups(WIDTH), nn.ReLU(), first, *middle, second)

    return lambda drop: convnet([Residual(branch(), drop()) for _ in range(2)])


def squeeze_excite(drop: MakeDrop) -> Net:
    def branch() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), groups(WIDTH), nn.SiLU(), SqueezeExcite(WIDTH)
        )

    return convnet([Residual(branch(), drop()) for _ in range(2)])


def images(samples: int) -> list[Tensor]:
    return [pixels(samples, 3, SIDE, SIDE)]


def with_mask_and_angles(samples: int) -> list[Tensor]:
    mask = pixels(samples, TOKENS) < 0.8
    mask[:, 0] = True  # Nobody attends to nothing.
    return [*images(samples), mask, pixels(samples, TOKENS, WIDTH // HEADS // 2)]


def with_condition(samples: int) -> list[Tensor]:
    return [*images(samples), pixels(samples, WIDTH)]


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Attributes:
        net: makes one, whose drops the argument makes.
        inputs: of so many samples.
        drops: how many drops it has, one for each branch.
        nested: whether a branch has another one inside.
        maps: whether its branches also drop maps.
    """

    net: Callable[[MakeDrop], Net]
    inputs: Callable[[int], list[Tensor]] = images
    drops: int = 2
    nested: bool = False
    maps: bool = False

    def make(self, drop: Callable[[float], nn.Module], p: float = 0.5) -> Net:
        """Return the model in double precision, the same each time; no parameter is 0 or 1."""
        torch.manual_seed(3)
        net = self.net(lambda: drop(p)).double()
        with torch.no_grad():
            net(*self.inputs(2))  # For lazy layers.
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        return net


FAMILIES = {
    "vit": Family(vit, drops=4),
    "masked-vit": Family(masked_vit, with_mask_and_angles, drops=3),
    "inlined": Family(inlined),
    "layer-attention": Family(layer_attention(batch_first=True)),
    "layer-attention-n-b-c": Family(layer_attention(batch_first=False)),
    "shared-drop": Family(shared_drop, drops=3),
    "nested": Family(nested, drops=3, nested=True),
    "frozen": Family(frozen, drops=4),
    "values-dropped-inside": Family(values_dropped_inside),
    "dit": Family(dit, with_condition, drops=4),
    "swin": Family(swin, drops=4),
    "convnext": Family(convnext, drops=3),
    "resnet": Family(resnet(groups)),
    "resnet-preactivation": Family(preactivation()),
    "resnet-maps-dropped-inside": Family(preactivation(lambda: SpatialDropout2d(0.5)), maps=True),
    "squeeze-excite": Family(squeeze_excite),
}
"""By name, the kinds whose branches work on each sample alone."""

BATCH_NORM = Family(resnet(nn.BatchNorm2d))
"""In training its branches do not: the samples have common statistics."""

"""The coarse heat-map network of Tompson et al. (CVPR 2015, arXiv 1411.4280, figure 4)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad
from torch.nn.utils import convert_conv2d_weight_memory_format

from mapdrop.localize.readout import Detections, peaks
from mapdrop.localize.targets import to_image
from mapdrop.torch import SpatialDropout2d

Model = TypeVar("Model", bound=nn.Module)

POOLINGS = (4, 8, 16)
"""Image pixels for each heat-map pixel: two, three or four 2x2 poolings."""

DROP_POSITIONS = ("banks", "head", "hidden")
"""Positions of drop layers: before each bank's last convolution, before the first 1x1 convolution
(as in the paper), before the second."""


class CoarseNet(nn.Module):
    """Compute one heat map for each joint of an image.

    The image goes through `banks` banks at full, half, quarter, ... resolution. A bank is several
    repetitions of (5x5 convolution, ReLU, 2x2 max pool), then a 5x5 and a 9x9 convolution. The
    coarser banks' maps are enlarged to the finest one's size and added, a drop layer drops some of
    them, and three 1x1 convolutions turn them into heat maps. The paper uses `width=128`.

    Args:
        joints: number of heat maps.
        width: feature maps of the first convolutions; later ones have 4 and 2 times as many.
        banks: number of resolutions, at least 1.
        pooling: image pixels for each heat-map pixel, along each axis: 4, 8 or 16.
        drop: makes a drop layer; called once for each layer.
        drop_at: positions of the drop layers, from `DROP_POSITIONS`.

    Shape:
        images (N, 3, H, W) to heat maps (N, joints, ceil(H / pooling), ceil(W / pooling)). The
        centre of heat-map pixel i lies at image coordinate pooling * i + (pooling - 1) / 2, with
        pixel centres at integers.

    Raises:
        ValueError: when joints, width or banks is below 1, or for an unknown pooling or position.

    >>> net = mapdrop.localize.network.CoarseNet(joints=4, width=8)
    >>> net(torch.zeros(2, 3, 120, 160)).shape
    torch.Size([2, 4, 15, 20])
    """

    joints: int
    width: int
    pooling: int

    def __init__(
        self,
        joints: int,
        *,
        width: int = 16,
        banks: int = 2,
        pooling: int = 8,
        drop: Callable[[], nn.Module] = SpatialDropout2d,
        drop_at: Collection[str] = ("head",),
    ) -> None:
        super().__init__()
        for name, value in (("joints", joints), ("width", width), ("banks", banks)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling}")
        for position in drop_at:
            if position not in DROP_POSITIONS:
                raise ValueError(f"drop_at must be among {DROP_POSITIONS}, got {position!r}")

        def layer(position: str) -> nn.Module:
            return drop() if position in drop_at else nn.Identity()

        self.joints, self.width, self.pooling = joints, width, pooling
        stages = pooling.bit_length() - 1
        self.banks: nn.ModuleList = nn.ModuleList(
            Bank(width, stages, layer("banks")) for _ in range(banks)
        )
        self.drop: nn.Module = layer("head")
        last = nn.Conv2d(2 * width, joints, 1)
        self.head: nn.Sequential = nn.Sequential(
            nn.Conv2d(4 * width, 2 * width, 1),
            nn.ReLU(),
            layer("hidden"),
            nn.Conv2d(2 * width, 2 * width, 1),
            nn.ReLU(),
            last,
        )
        self.apply(initialise)
        start_small(last)

    @overload
    def forward(self, images: Tensor, features: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(
        self, images: Tensor, features: Literal[True]
    ) -> tuple[Tensor, tuple[Tensor, ...]]: ...

    def forward(
        self, images: Tensor, features: bool = False
    ) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """Return the heat maps of (N, 3, H, W) images, normalised by `local_contrast`.

        With `features`, also return each bank's maps after its first two poolings, `width` maps
        each, which `Cascade` reads. They cover the image as padded for the banks' poolings.
        """
        height, width = images.shape[-2:]
        level = _pad(images, self.pooling << (len(self.banks) - 1))
        total, early = self.banks[0](level)
        for bank in self.banks[1:]:
            level = avg_pool2d(level, 2)
            maps, more = bank(level)
            early = early + more
            size = total.shape[-2:]
            total = total + interpolate(maps, size, mode="bilinear", align_corners=False)
        heat_maps: Tensor = self.head(self.drop(total))
        heat_maps = heat_maps[..., : -(-height // self.pooling), : -(-width // self.pooling)]
        return (heat_maps, early) if features else heat_maps

    def locate(self, images: Tensor) -> Detections:
        """Find the joints in (N, 3, H, W) images, normalised by `local_contrast`."""
        heat_maps = self(images)
        at, likelihood = peaks(heat_maps)
        return Detections(to_image(at, self.pooling), likelihood, heat_maps)


class Bank(nn.Module):
    """The convolutions of one resolution.

    Shape:
        (N, 3, H, W) to (N, 4 * width, H / 2**stages, W / 2**stages), and the maps after the first
        two poolings.
    """

    def __init__(self, width: int, stages: int, drop: nn.Module) -> None:
        super().__init__()
        self.stages: nn.ModuleList = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width if number else 3, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
            )
            for number in range(stages)
        )
        self.top: nn.Sequential = nn.Sequential(
            nn.Conv2d(width, 4 * width, 5, padding=2),
            nn.ReLU(),
            drop,
            nn.Conv2d(4 * width, 4 * width, 9, padding=4),
            nn.ReLU(),
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the last convolution's maps, and those after the first two poolings."""
        early: tuple[Tensor, ...] = ()
        for stage in self.stages:
            maps = stage(maps)
            early = (*early, maps)
        return self.top(maps), early[:2]


def initialise(module: nn.Module) -> None:
    """Initialise a convolution as He et al. (2015), which keeps the scale through ReLU layers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def start_small(last: nn.Conv2d) -> None:
    """Initialise the last convolution close to zero, as most of every target is.

    Otherwise training begins with unlearning the noise of He's initialisation.
    """
    nn.init.normal_(last.weight, std=1e-3)


def channels_last(model: Model) -> Model:
    """Store the weights channels last, with which CPU convolutions are about a sixth faster."""
    return convert_conv2d_weight_memory_format(model, torch.channels_last)


def _pad(images: Tensor, multiple: int) -> Tensor:
    """Pad with zeros at the bottom and right, so that every bank's poolings divide the size."""
    height, width = images.shape[-2:]
    return pad(images, (0, -width % multiple, 0, -height % multiple))

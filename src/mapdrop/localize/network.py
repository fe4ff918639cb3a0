"""The coarse heat-map network of Tompson et al. (CVPR 2015, arXiv 1411.4280, figure 4)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, overload

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad

from mapdrop.localize.readout import Found, peaks
from mapdrop.localize.targets import to_image
from mapdrop.torch import SpatialDropout2d

POOLINGS = (4, 8, 16)
"""Image pixels for each heat-map pixel: two, three or four poolings by two."""

PLACES = ("banks", "head", "hidden")
"""Where drop layers can stand: before each bank's last convolution, before the first 1x1
convolution (the paper's place), before the second."""


class CoarseNet(nn.Module):
    """Images in, one heat map for each joint out.

    The same picture goes through `banks` banks at full, half, quarter, ... resolution. Each bank is
    a few times (5x5 convolution, ReLU, 2x2 max pool), a 5x5 and a 9x9 convolution. The coarser
    banks' maps are enlarged to the finest one's size and added, a drop layer drops some of them,
    and three 1x1 convolutions turn them into heat maps. The paper's widths are `width=128`.

    Args:
        joints: number of heat maps.
        width: feature maps of the first convolutions; the later ones have 4 and 2 times it.
        banks: number of resolutions, at least 1.
        pooling: image pixels for each heat-map pixel, along each axis: 4, 8 or 16.
        drop: makes a drop layer. It is called once for each place.
        drop_at: where drop layers stand; see `PLACES`.

    Shape:
        images (N, 3, H, W) to heat maps (N, joints, ceil(H / pooling), ceil(W / pooling)). The
        centre of heat-map pixel i lies at image coordinate pooling * i + (pooling - 1) / 2, with
        pixel centres at integers.

    Raises:
        ValueError: when joints, width or banks is smaller than 1, and for another pooling or place.

    >>> net = mapdrop.localize.network.CoarseNet(joints=4, width=8)
    >>> net(torch.zeros(2, 3, 120, 160)).shape
    torch.Size([2, 4, 15, 20])
    """

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
        for place in drop_at:
            if place not in PLACES:
                raise ValueError(f"a drop layer stands at one of {PLACES}, not at {place!r}")

        def layer(place: str) -> nn.Module:
            return drop() if place in drop_at else nn.Identity()

        self.joints, self.width, self.pooling = joints, width, pooling
        stages = pooling.bit_length() - 1
        self.banks = nn.ModuleList(Bank(width, stages, layer("banks")) for _ in range(banks))
        self.drop = layer("head")
        last = nn.Conv2d(2 * width, joints, 1)
        self.head = nn.Sequential(
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
        """Heat maps of (N, 3, H, W) images, normalised by `local_contrast`.

        With `features` also each bank's maps after its first two poolings, `width` maps each, which
        `Cascade` looks at again. They cover the picture padded to what the banks' poolings need.
        """
        height, width = images.shape[-2:]
        level = _padded(images, self.pooling << (len(self.banks) - 1))
        total, early = self.banks[0](level)
        for bank in self.banks[1:]:
            level = avg_pool2d(level, 2)
            maps, more = bank(level)
            early = early + more
            size = total.shape[-2:]
            total = total + interpolate(maps, size, mode="bilinear", align_corners=False)
        heats: Tensor = self.head(self.drop(total))
        heats = heats[..., : -(-height // self.pooling), : -(-width // self.pooling)]
        return (heats, early) if features else heats

    def locate(self, images: Tensor) -> Found:
        """Where the joints are in (N, 3, H, W) images, normalised by `local_contrast`."""
        heats = self(images)
        at, likelihood = peaks(heats)
        return Found(to_image(at, self.pooling), likelihood, heats)


class Bank(nn.Module):
    """One resolution's convolutions.

    Shape:
        (N, 3, H, W) to (N, 4 * width, H / 2**stages, W / 2**stages), and the maps after the first
        two poolings.
    """

    def __init__(self, width: int, stages: int, drop: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width if number else 3, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
            )
            for number in range(stages)
        )
        self.top = nn.Sequential(
            nn.Conv2d(width, 4 * width, 5, padding=2),
            nn.ReLU(),
            drop,
            nn.Conv2d(4 * width, 4 * width, 9, padding=4),
            nn.ReLU(),
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What all convolutions make of the picture, and what the first ones do."""
        early: tuple[Tensor, ...] = ()
        for stage in self.stages:
            maps = stage(maps)
            early = (*early, maps)
        return self.top(maps), early[:2]


def initialise(module: nn.Module) -> None:
    """He et al. 2015: a ReLU network without normalisation keeps its scale from layer to layer."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def start_small(last: nn.Conv2d) -> None:
    """Nearly nothing at first, as most of every target is.

    Otherwise unlearning He's noise comes before learning anything else.
    """
    nn.init.normal_(last.weight, std=1e-3)


def _padded(images: Tensor, multiple: int) -> Tensor:
    """Zeros at the bottom and right, so that every bank's pooling comes out even."""
    height, width = images.shape[-2:]
    return pad(images, (0, -width % multiple, 0, -height % multiple))

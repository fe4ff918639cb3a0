"""The coarse heat-map network of Tompson et al. (CVPR 2015, arXiv 1411.4280, figure 4)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad

STRIDE = 8
"""Image pixels for each heat-map pixel: three poolings by two."""


class CoarseNet(nn.Module):
    """Images in, one heat map for each joint out.

    The same picture goes through `banks` banks at full, half, quarter, ... resolution. Each bank is
    three times (5x5 convolution, ReLU, 2x2 max pool), a 5x5 and a 9x9 convolution. The coarser
    banks' maps are enlarged to the finest one's size and added, `drop` drops some of them, and
    three 1x1 convolutions turn them into heat maps. The paper's widths are `width=128`.

    Args:
        joints: number of heat maps.
        width: feature maps of the first three convolutions; the later ones have 4 and 2 times it.
        banks: number of resolutions, at least 1.
        drop: makes the layer that stands before the first 1x1 convolution. It is called once.

    Shape:
        images (N, 3, H, W) to heat maps (N, joints, ceil(H / 8), ceil(W / 8)). The centre of
        heat-map pixel i lies at image coordinate 8 * i + 3.5, with pixel centres at integers.

    Raises:
        ValueError: when joints, width or banks is smaller than 1.
    """

    def __init__(
        self,
        joints: int,
        *,
        width: int = 16,
        banks: int = 2,
        drop: Callable[[], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        for name, value in (("joints", joints), ("width", width), ("banks", banks)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.banks = nn.ModuleList(_bank(width) for _ in range(banks))
        self.drop = drop()
        last = nn.Conv2d(2 * width, joints, 1)
        self.head = nn.Sequential(
            nn.Conv2d(4 * width, 2 * width, 1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 1),
            nn.ReLU(),
            last,
        )
        self.apply(_initialise)
        # Nearly nothing at first, as most of every target is: otherwise unlearning He's noise comes
        # before learning anything else.
        nn.init.normal_(last.weight, std=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        """Heat maps of (N, 3, H, W) images, normalised by `local_contrast`."""
        height, width = images.shape[-2:]
        heats: Tensor = self.head(self.drop(self._features(images)))
        return heats[..., : -(-height // STRIDE), : -(-width // STRIDE)]

    def _features(self, images: Tensor) -> Tensor:
        """The banks' maps, added: (N, 4 * width, h, w), before the drop layer."""
        level = _padded(images, STRIDE << (len(self.banks) - 1))
        total: Tensor = self.banks[0](level)
        for bank in self.banks[1:]:
            level = avg_pool2d(level, 2)
            size = total.shape[-2:]
            total = total + interpolate(bank(level), size, mode="bilinear", align_corners=False)
        return total


def _bank(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for _ in range(3):
        layers += [nn.Conv2d(channels, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    layers += [nn.Conv2d(width, 4 * width, 5, padding=2), nn.ReLU()]
    layers += [nn.Conv2d(4 * width, 4 * width, 9, padding=4), nn.ReLU()]
    return nn.Sequential(*layers)


def _padded(images: Tensor, multiple: int) -> Tensor:
    """Zeros at the bottom and right, so that every bank's pooling comes out even."""
    height, width = images.shape[-2:]
    return pad(images, (0, -width % multiple, 0, -height % multiple))


def _initialise(module: nn.Module) -> None:
    """He et al. 2015: a ReLU network without normalisation keeps its scale from layer to layer."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)

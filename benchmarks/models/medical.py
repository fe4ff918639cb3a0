"""MONAI's two-dimensional networks, by its own code. It is imported when one of them is built."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def unet(channels: Sequence[int], *, spatial: bool) -> nn.Module:
    """The residual U-Net. `spatial` replaces the nn.Dropout that MONAI puts for a mere rate."""
    from monai.networks.nets.unet import UNet

    strides = [2] * (len(channels) - 1)
    net = UNet(2, 1, 2, channels, strides, num_res_units=2, dropout=0.1)
    return _spatially(net) if spatial else net


def basic_unet(features: Sequence[int], *, spatial: bool) -> nn.Module:
    """The U-Net with two convolutions at each level; `spatial` as in `unet`."""
    from monai.networks.nets.basic_unet import BasicUNet

    net = BasicUNet(2, 1, 2, features, dropout=0.1)
    return _spatially(net) if spatial else net


def seg_res_net(filters: int) -> nn.Module:
    """The residual encoder and decoder: whole maps drop once, after the first convolution."""
    from monai.networks.nets.segresnet import SegResNet

    return SegResNet(2, filters, in_channels=4, out_channels=3, dropout_prob=0.2)


def vnet(*, spatial: bool) -> nn.Module:
    """V-Net, of fixed widths. It drops where the resolution changes: `spatial` makes that maps.

    MONAI 1.6 does not heed `dropout_dim` here: its nn.Dropout3d takes the samples of a batch of
    images for the channels of one volume, and drops whole samples.
    """
    from monai.networks.nets.vnet import VNet

    net = VNet(2, 1, 2, dropout_dim=2)
    return _spatially(net) if spatial else net


def dense_net(growth: int, layers: Sequence[int]) -> nn.Module:
    """DenseNet: a layer's new maps drop as wholes before they join those they were made of."""
    from monai.networks.nets.densenet import DenseNet

    return DenseNet(2, 3, 10, 2 * growth, growth, layers, dropout_prob=0.2)


def _spatially(net: nn.Module) -> nn.Module:
    """The same net, with nn.Dropout2d wherever it had another drop layer."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, (nn.Dropout, nn.Dropout3d)):
                setattr(module, name, nn.Dropout2d(child.p))
    return net

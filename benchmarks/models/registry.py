"""All networks, by name."""

from __future__ import annotations

from functools import partial

from torch import nn

from benchmarks.models import medical
from benchmarks.models.enet import Encoder
from benchmarks.models.model import Model, Size
from benchmarks.models.tcn import TCN, Normalise, by_hook, by_parametrization
from benchmarks.models.vgg import vgg11, vgg16_bn
from benchmarks.models.wide_resnet import Drop, WideResNet
from mapdrop.localize.network import CoarseNet
from mapdrop.tools.bench.chains import chain


def _chain(widths: tuple[int, ...], side: int) -> Model:
    small = tuple(width // 16 for width in widths)
    return Model(
        "chain-" + "-".join(map(str, widths)),
        "3x3 convolutions in a row: no published network; the rate is ours",
        0.5,
        Size(partial(chain, widths, 0.5), (16, widths[0], side, side)),
        Size(partial(chain, small, 0.5), (3, small[0], 8, 8)),
    )


def _wide_resnet(name: str, how: str, drop: Drop) -> Model:
    return Model(
        name,
        f"Zagoruyko and Komodakis 2016, Wide Residual Networks: WRN-16-4, {how}",
        0.3,
        Size(partial(WideResNet, drop=drop), (16, 3, 32, 32)),
        Size(partial(WideResNet, 10, 1, drop=drop), (3, 3, 16, 16)),
    )


def _tcn(name: str, how: str, normalise: Normalise) -> Model:
    return Model(
        name,
        "Bai, Kolter and Koltun 2018, An Empirical Evaluation of Generic Convolutional and "
        f"Recurrent Networks for Sequence Modeling: sizes as for Nottingham, {how}",
        0.2,
        Size(partial(TCN, normalise=normalise), (8, 88, 256)),
        Size(partial(TCN, 5, (12, 12, 8), 5, 3, normalise=normalise), (3, 5, 20)),
    )


def _unet(name: str, how: str, spatial: bool) -> Model:
    build = partial(medical.unet, spatial=spatial)
    return Model(
        name,
        "Kerfoot et al. 2018, Left-Ventricle Quantification Using Residual U-Net, by MONAI: "
        f"{how}; the rate is ours",
        0.1,
        Size(partial(build, (16, 32, 64, 128, 256)), (8, 1, 96, 96)),
        Size(partial(build, (4, 8, 16)), (3, 1, 16, 16)),
    )


def _basic_unet(name: str, how: str, spatial: bool) -> Model:
    build = partial(medical.basic_unet, spatial=spatial)
    return Model(
        name,
        "Falk et al. 2019, U-Net: Deep Learning for Cell Counting, by MONAI: "
        f"{how}; the rate is ours",
        0.1,
        Size(partial(build, (32, 32, 64, 128, 256, 32)), (2, 1, 96, 96)),
        Size(partial(build, (4, 4, 8, 8, 16, 4)), (3, 1, 32, 32)),
    )


def _vnet(name: str, how: str, spatial: bool) -> Model:
    build = partial(medical.vnet, spatial=spatial)
    return Model(
        name,
        "Milletari, Navab and Ahmadi 2016, V-Net, by MONAI, in two dimensions: "
        f"{how}; the rate is MONAI's",
        0.5,
        Size(build, (4, 1, 64, 64)),
        Size(build, (3, 1, 16, 16)),
    )


def _coarse(width: int) -> nn.Module:
    return CoarseNet(14, width=width, drop=lambda: nn.Dropout2d(0.5))


MODELS = (
    _chain((64, 128, 128, 128, 128), 32),
    _chain((64, 256, 256, 256, 256), 16),
    _chain((512, 512, 512), 14),
    _chain((512, 512), 14),
    _wide_resnet("wrn-16-4", "its element-wise dropout", nn.Dropout),
    _wide_resnet("wrn-16-4-spatial", "nn.Dropout2d instead", nn.Dropout2d),
    Model(
        "vgg16-bn",
        "Liu and Deng 2015, Very Deep Convolutional Neural Network Based Image Classification "
        "Using Small Training Sample Size: nn.Dropout2d after convolutions",
        0.4,
        Size(vgg16_bn, (16, 3, 32, 32)),
        Size(partial(vgg16_bn, 8), (3, 3, 32, 32)),
    ),
    Model(
        "vgg11",
        "Simonyan and Zisserman 2015, Very Deep Convolutional Networks: configuration A; "
        "nn.Dropout2d instead of the first of its two drop layers",
        0.5,
        Size(vgg11, (4, 3, 64, 64)),
        Size(partial(vgg11, 64, 8), (3, 3, 64, 64)),
    ),
    Model(
        "enet",
        "Paszke, Chaurasia, Kim and Culurciello 2016, ENet: its encoder",
        0.1,
        Size(Encoder, (4, 3, 128, 128)),
        Size(partial(Encoder, 1, (1, 2, "asymmetric"), 16, 5), (3, 3, 32, 32)),
    ),
    _tcn("tcn", "torch.nn.utils.parametrizations.weight_norm", by_parametrization),
    _tcn("tcn-hook", "torch.nn.utils.weight_norm", by_hook),
    Model(
        "coarse",
        "Tompson et al. 2015, Efficient Object Localization Using Convolutional Networks: "
        "mapdrop's localizer",
        0.5,
        Size(partial(_coarse, 128), (4, 3, 64, 64)),
        Size(partial(_coarse, 32), (3, 3, 16, 16)),
    ),
    _unet("unet", "element-wise, as MONAI makes it", False),
    _unet("unet-spatial", "nn.Dropout2d instead", True),
    _basic_unet("basic-unet", "element-wise, as MONAI makes it", False),
    _basic_unet("basic-unet-spatial", "nn.Dropout2d instead", True),
    Model(
        "seg-res-net",
        "Myronenko 2018, 3D MRI Brain Tumor Segmentation Using Autoencoder Regularization, "
        "by MONAI, in two dimensions and without the autoencoder",
        0.2,
        Size(partial(medical.seg_res_net, 16), (4, 4, 96, 96)),
        Size(partial(medical.seg_res_net, 8), (3, 4, 16, 16)),
    ),
    _vnet("vnet", "whole samples drop, as MONAI makes it", False),
    _vnet("vnet-spatial", "nn.Dropout2d instead", True),
    Model(
        "dense-net",
        "Huang, Liu, van der Maaten and Weinberger 2017, Densely Connected Convolutional "
        "Networks, by MONAI",
        0.2,
        Size(partial(medical.dense_net, 12, (8, 8, 8)), (16, 3, 32, 32)),
        Size(partial(medical.dense_net, 4, (2, 2)), (3, 3, 32, 32)),
    ),
)


def find(name: str) -> Model:
    """The registered network of that name.

    Raises:
        KeyError: when there is none; the names there are stand in the message.
    """
    for model in MODELS:
        if model.name == name:
            return model
    raise KeyError(f"no network {name!r}; there are {', '.join(m.name for m in MODELS)}")

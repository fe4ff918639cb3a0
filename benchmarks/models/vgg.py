"""VGG with drop layers among its convolutions (Liu and Deng 2015) or before its classifier."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def vgg16_bn(width: int = 64, classes: int = 10) -> nn.Sequential:
    """VGG-16 for 32x32 images: a drop layer after every convolution that no pooling follows.

    The rates are 0.3 after the first convolution, 0.4 after the others, and 0.5 by single elements
    around the first linear layer. `width` is that of the first stage.
    """
    layers: list[nn.Module] = []
    channels = 3
    for times, convs in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for number in range(convs):
            outputs = width * times
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
            layers.append(nn.ReLU())
            if number < convs - 1:
                layers.append(nn.Dropout2d(0.3 if channels == 3 else 0.4))
            channels = outputs
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Dropout(0.5), nn.Linear(channels, channels, bias=False)]
    layers += [nn.BatchNorm1d(channels), nn.ReLU(), nn.Dropout(0.5), nn.Linear(channels, classes)]
    return nn.Sequential(*layers)


def vgg11(side: int = 64, width: int = 64, classes: int = 10) -> nn.Sequential:
    """VGG-11 for side x side images: whole maps drop, then are flattened for the classifier."""
    layers: list[nn.Module] = []
    for times in ((0, 1), (1, 2), (2, 4, 4), (4, 8, 8), (8, 8, 8)):
        for before, after in pairwise(times):
            layers += [nn.Conv2d(width * before or 3, width * after, 3, padding=1), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    features = width * 8
    layers += [nn.Dropout2d(0.5), nn.Flatten()]
    layers += [nn.Linear(features * (side // 32) ** 2, features), nn.ReLU()]
    layers += [nn.Dropout(0.5), nn.Linear(features, classes)]
    return nn.Sequential(*layers)


def vgg16(classes: int = 1000, width: int = 64, side: int = 224) -> nn.Sequential:
    """VGG-16 (Simonyan and Zisserman 2015): single values drop in its classifier alone."""
    layers: list[nn.Module] = []
    channels = 3
    for times, convs in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(convs):
            layers += [nn.Conv2d(channels, width * times, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width * times
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(channels * (side // 32) ** 2, 64 * width)]
    layers += [nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(64 * width, 64 * width)]
    layers += [nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(64 * width, classes)]
    return nn.Sequential(*layers)

"""Activations of real networks, at which dropout is timed and tested."""

from __future__ import annotations

from dataclasses import dataclass

from mapdrop.tools.drop_kinds import BLOCK_SIZE, DROP_KINDS

EVERYWHERE = tuple(name for name, kind in DROP_KINDS.items() if kind.layer)


@dataclass(frozen=True)
class Shape:
    """Where a network drops.

    Attributes:
        name: its name in tables.
        source: the network, and where in it.
        batch, maps: how many samples, and maps (channels) of each.
        places: height and width, or the length.
        operations: the kinds of dropout there, by their names in DROP_KINDS.
    """

    name: str
    source: str
    batch: int
    maps: int
    places: tuple[int, ...]
    operations: tuple[str, ...] = EVERYWHERE

    @property
    def first(self) -> tuple[int, ...]:
        """Channels first."""
        return (self.batch, self.maps, *self.places)

    @property
    def last(self) -> tuple[int, ...]:
        """Channels last."""
        return (self.batch, *self.places, self.maps)


def _resnet(stage: int, maps: int, side: int) -> Shape:
    source = f"He et al. 2016, ResNet-50: the end of stage {stage}, images of 224x224"
    # DropBlock's authors drop in the last two stages; a block of 7 is all of the last.
    operations = tuple(o for o in EVERYWHERE if o != "block" or side > BLOCK_SIZE)
    return Shape(f"resnet50-{stage}", source, 32, maps, (side, side), operations)


def _unet(level: int) -> Shape:
    source = f"Ronneberger et al. 2015, U-Net: level {level}, padded, images of 256x256"
    side = 2 ** (9 - level)
    return Shape(f"unet-{level}", source, 4, 2 ** (5 + level), (side, side), ("element", "spatial"))


def _wide_resnet(group: int) -> Shape:
    source = f"Zagoruyko and Komodakis 2016, WRN-28-10: group {group}, between its convolutions"
    maps, side = 160 * 2 ** (group - 1), 2 ** (6 - group)
    return Shape(f"wrn-28-10-{group}", source, 128, maps, (side, side), ("element", "spatial"))


SHAPES = (
    *(_resnet(stage, 2 ** (7 + stage), 7 * 2 ** (4 - stage)) for stage in (1, 2, 3, 4)),
    *(_unet(level) for level in (1, 2, 3, 4, 5)),
    *(_wide_resnet(group) for group in (1, 2, 3)),
    Shape(
        "tompson",
        "Tompson et al. 2015, Efficient Object Localization: before the 1x1 convolutions, images"
        " of 320x240, pooled by 4",
        8,
        512,
        (60, 80),
        ("spatial", "element"),
    ),
    Shape(
        "tcn",
        "Bai et al. 2018, Temporal Convolutional Networks: 600 maps, as for words of Penn Treebank",
        16,
        600,
        (80,),
        ("spatial", "element"),
    ),
    Shape(
        "vit-b16",
        "Dosovitskiy et al. 2021, ViT-B/16: tokens of a block, images of 224x224",
        64,
        768,
        (197,),
        ("element", "path"),
    ),
    Shape("1000-values", "a vector: what a call costs", 1, 1000, (), ("element",)),
)
"""All of them, by name unique."""


def find(name: str) -> Shape:
    """Return the shape of that name.

    Raises:
        KeyError: when there is none; the message lists the names.
    """
    for shape in SHAPES:
        if shape.name == name:
            return shape
    raise KeyError(f"no shape {name!r}; there are {', '.join(s.name for s in SHAPES)}")

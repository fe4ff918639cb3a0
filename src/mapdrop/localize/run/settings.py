"""The settings of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from mapdrop.localize.augment import Augment
from mapdrop.localize.cascade import Cascade
from mapdrop.localize.data.coordinates import UNITS
from mapdrop.localize.drop_option import kind
from mapdrop.localize.network import CoarseNet, channels_last
from mapdrop.localize.run.decoding import decode
from mapdrop.localize.run.folder import RunError
from mapdrop.localize.run.mirroring import Mirroring, Pairs, decide
from mapdrop.localize.train import Recipe
from mapdrop.torch import seeded

PRECISIONS = ("float32", "bfloat16")
MAX_WIDTH, MAX_BANKS = 512, 5
"""Largest width and number of banks; the paper has 128 and 3."""
SIDE_RANGE = 16, 4096
"""Smallest and largest side of a working image."""
SEED_LIMIT = 1 << 63


def check_size(size: tuple[int, int]) -> None:
    """Raise ValueError unless (width, height) `size` is valid for working images."""
    if not all(SIDE_RANGE[0] <= side <= SIDE_RANGE[1] for side in size):
        raise ValueError(
            f"the sides of images must be {SIDE_RANGE[0]} to {SIDE_RANGE[1]} pixels, got {size}"
        )


def _check_seed(seed: int) -> None:
    if not 0 <= seed < SEED_LIMIT:
        raise ValueError(f"a seed must be 0 to 2**63 - 1, got {seed}")


@dataclass(frozen=True)
class DataSettings:
    """The images of a run.

    Attributes:
        source: "scenes", or a path of any known format.
        joints: names of the joints to use, in this order; None means all.
        size: (width, height) of the working images in pixels; None means the data's default.
        train_size: number of images to use, for training and validation; None means all.
        validation: fraction of these that validate.
        seed: determines which images train and which validate.
        coordinates: "pixels" or "fractions" of the image's size; None asks where that is unclear.
        skip_missing: whether to leave out labels whose image does not exist.
    """

    source: str
    joints: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    train_size: int | None = None
    validation: float = 0.1
    seed: int = 0
    coordinates: str | None = None
    skip_missing: bool = False

    def __post_init__(self) -> None:
        if self.train_size is not None and self.train_size < 2:
            raise ValueError(f"train_size must be at least 2 images, got {self.train_size}")
        if not 0 < self.validation < 1:
            raise ValueError(
                f"validation must be a fraction between 0 and 1, got {self.validation:g}"
            )
        if self.size is not None:
            check_size(self.size)
        if self.coordinates not in (None, *UNITS):
            raise ValueError(f"coordinates must be one of {UNITS}, got {self.coordinates!r}")
        _check_seed(self.seed)


@dataclass(frozen=True)
class NetworkSettings:
    """The network of a run.

    Attributes:
        width, banks, pooling, drop_at: as in `CoarseNet`.
        drop, rate, block_size: the drop layers, named as in `mapdrop study`.
        cascade: whether a second network refines the detections.
    """

    width: int = 16
    banks: int = 2
    pooling: int = 8
    drop: str = "spatial"
    rate: float = 0.5
    block_size: int = 5
    drop_at: tuple[str, ...] = ("head",)
    cascade: bool = True

    def __post_init__(self) -> None:
        # Check sizes before a network is built.
        for name, largest in (
            ("width", MAX_WIDTH),
            ("banks", MAX_BANKS),
            ("block_size", SIDE_RANGE[1]),
        ):
            if not 1 <= getattr(self, name) <= largest:
                raise ValueError(f"{name} must be 1 to {largest}, got {getattr(self, name)}")
        if not 0 <= self.rate < 1:
            raise ValueError(f"rate must be at least 0 and below 1, got {self.rate:g}")
        with torch.device("meta"):
            self._coarse(1)  # This checks the remaining values.

    def build(self, joints: int, seed: int) -> CoarseNet | Cascade:
        """Build a network whose initial weights and masks depend on `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            coarse = seeded(self._coarse(joints), seed)
            model: CoarseNet | Cascade = Cascade(coarse) if self.cascade else coarse
        return channels_last(model)

    def _coarse(self, joints: int) -> CoarseNet:
        def drop() -> nn.Module:
            return kind(self.drop).layer(self.rate, self.block_size)

        return CoarseNet(
            joints,
            width=self.width,
            banks=self.banks,
            pooling=self.pooling,
            drop=drop,
            drop_at=self.drop_at,
        )


@dataclass(frozen=True)
class TrainingSettings:
    """How a run is trained.

    Attributes:
        seed: determines initial weights, masks, and the order and transforms of images.
        coarse, fine, joint: steps of each stage; the last two need a cascade.
        batch: images in a step, over all processes.
        learning_rate: as in `Recipe`; a quarter of it in the joint stage.
        augment: limits of the training images' transforms.
        flip: whether to mirror half of them; None means if joints come in pairs, left and right.
        pairs: joints that a mirror image exchanges; None means that they are found by name.
        every: steps from one validation to the next.
        patience: number of validations without improvement that ends a stage; 0 means no limit.
        compact: whether to skip computing what dropout drops, where that is faster.
        precision: of the networks' arithmetic, one of `PRECISIONS`.
    """

    seed: int = 0
    coarse: int = 600
    fine: int = 400
    joint: int = 200
    batch: int = 8
    learning_rate: float = 2e-3
    augment: Augment = field(
        default_factory=lambda: Augment(shift=8, rotation=20, scale=1.3, brightness=0.2)
    )
    flip: bool | None = None
    pairs: Pairs | None = None
    every: int = 50
    patience: int = 0
    compact: bool = True
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("coarse", "fine", "joint", "batch", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.patience < 0:
            raise ValueError(f"patience must not be negative, got {self.patience}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}")
        _check_seed(self.seed)
        if self.pairs is not None and self.flip is False:
            raise ValueError("pairs have no effect without flips; leave out one of the two")
        named = [joint for pair in self.pairs or () for joint in pair]
        if len(set(named)) < len(named):
            raise ValueError(f"pairs should name each joint once, got {', '.join(named)}")
        self.stages(cascade=True)  # This checks the remaining values.

    def mirroring(self, joints: Sequence[str]) -> Mirroring:
        """Decide whether images are mirrored; see `mirroring.decide`."""
        return decide(joints, self.flip, self.pairs)

    def stages(self, cascade: bool) -> dict[str, Recipe]:
        """Return the recipe of each stage, in order."""
        coarse = self._recipe(self.coarse, self.learning_rate)
        if not cascade:
            return {"coarse": coarse}
        fine = self._recipe(self.fine, self.learning_rate)
        # Both networks are trained already; large steps would undo that.
        return {
            "coarse": coarse,
            "fine": fine,
            "joint": self._recipe(self.joint, self.learning_rate / 4),
        }

    def _recipe(self, steps: int, rate: float) -> Recipe:
        return Recipe(steps=steps, batch=self.batch, learning_rate=rate, augment=self.augment)


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    data: DataSettings
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def to_json(self) -> dict[str, Any]:
        """Return the values that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """Return the settings that `to_json` wrote.

        Raises:
            RunError: when the values are invalid.
        """
        try:
            return decode(cls, values)
        except ValueError as error:
            raise RunError(f"the run's settings can't be read: {error}") from error

    def differences(self, other: Settings) -> list[str]:
        """Describe how `other` differs; only the data's location may."""
        own, others = self.to_json(), other.to_json()
        own["data"].pop("source")
        return [
            f"{name.replace('_', '-')} {others[part][name]} instead of {value}"
            for part, values in own.items()
            for name, value in values.items()
            if others[part][name] != value
        ]

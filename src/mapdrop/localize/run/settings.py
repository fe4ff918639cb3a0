"""What a run is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from mapdrop.localize.augment import Augment
from mapdrop.localize.cascade import Cascade
from mapdrop.localize.kinds import kind
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.run.decoding import decoded
from mapdrop.localize.run.folder import RunError
from mapdrop.localize.train import Recipe
from mapdrop.torch import seeded

PRECISIONS = ("float32", "bfloat16")
WIDTH, BANKS = 512, 5
"""The most that can be asked for; the paper has 128 and 3."""
SIDES = 16, 4096
"""The smallest and the largest side of a working picture."""
SEEDS = 1 << 63


def check_size(size: tuple[int, int]) -> None:
    """Raise ValueError unless working pictures can be (width, height) `size`."""
    if not all(SIDES[0] <= side <= SIDES[1] for side in size):
        raise ValueError(f"the sides of images are {SIDES[0]} to {SIDES[1]} pixels, got {size}")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < SEEDS:
        raise ValueError(f"a seed is 0 to 2**63 - 1, got {seed}")


@dataclass(frozen=True)
class DataSettings:
    """Which pictures.

    Attributes:
        source: "scenes", or a path of any known format.
        joints: names of the joints wanted, in this order; None is all.
        size: (width, height) in pixels that pictures are fitted into; None is the data's own.
        train_size: pictures to use, those for validation among them; None is all.
        validation: share of these that only validates.
        seed: decides which.
    """

    source: str
    joints: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    train_size: int | None = None
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.train_size is not None and self.train_size < 2:
            raise ValueError(f"train and validate on at least 2 images, got {self.train_size}")
        if not 0 < self.validation < 1:
            raise ValueError(f"the validation share is between 0 and 1, got {self.validation:g}")
        if self.size is not None:
            check_size(self.size)
        _check_seed(self.seed)


@dataclass(frozen=True)
class NetworkSettings:
    """Which network; the arguments are those of `CoarseNet`.

    Attributes:
        drop, rate, block_size: the drop layers, as `mapdrop study` names them.
        cascade: whether a refiner looks again.
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
        # Before a network of that size is made.
        for name, most in (("width", WIDTH), ("banks", BANKS), ("block_size", SIDES[1])):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is 1 to {most}, got {getattr(self, name)}")
        if not 0 <= self.rate < 1:
            raise ValueError(f"a rate is at least 0 and below 1, got {self.rate:g}")
        with torch.device("meta"):
            self._coarse(1)  # Says what is wrong with the rest.

    def build(self, joints: int, seed: int) -> CoarseNet | Cascade:
        """A network whose start weights and masks depend on `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            coarse = seeded(self._coarse(joints), seed)
            model = Cascade(coarse) if self.cascade else coarse
        # The CPU's convolutions are about a sixth faster with the channels last.
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

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
    """How it is trained.

    Attributes:
        seed: decides start weights, masks, the order of images and their changes.
        coarse, fine, joint: steps of each stage; the last two only with a cascade.
        batch: images in a step, of all processes together.
        learning_rate: as in `Recipe`; a quarter of it in the joint stage.
        augment: how much training images are changed.
        flip: whether half of them are mirrored; None is when joints come in pairs, left and right.
        every: steps from one validation to the next.
        patience: a stage ends after so many validations without a better one; 0 is never.
        compact: leave out what dropout drops, where that pays.
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
            raise ValueError(f"precision is one of {PRECISIONS}, got {self.precision!r}")
        _check_seed(self.seed)
        self.stages(cascade=True)  # Says what is wrong with the rest.

    def stages(self, cascade: bool) -> dict[str, Recipe]:
        """The recipe of each stage, in their order."""
        coarse = self._recipe(self.coarse, self.learning_rate)
        if not cascade:
            return {"coarse": coarse}
        fine = self._recipe(self.fine, self.learning_rate)
        # Both networks are trained: large steps would undo that.
        return {
            "coarse": coarse,
            "fine": fine,
            "joint": self._recipe(self.joint, self.learning_rate / 4),
        }

    def _recipe(self, steps: int, rate: float) -> Recipe:
        return Recipe(steps=steps, batch=self.batch, learning_rate=rate, augment=self.augment)


@dataclass(frozen=True)
class Settings:
    """Everything that a run is asked for."""

    data: DataSettings
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """The settings written by `to_json`.

        Raises:
            RunError: when they aren't.
        """
        try:
            return decoded(cls, values)
        except ValueError as error:
            raise RunError(f"the run's settings can't be read: {error}") from error

    def differences(self, other: Settings) -> list[str]:
        """In words, what `other` has otherwise; the data may have moved."""
        mine, theirs = self.to_json(), other.to_json()
        mine["data"].pop("source")
        return [
            f"{name.replace('_', '-')} {theirs[part][name]} instead of {value}"
            for part, values in mine.items()
            for name, value in values.items()
            if theirs[part][name] != value
        ]

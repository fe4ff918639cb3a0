"""The record of a run: its settings, its data, and the machine that it started on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import torch

from mapdrop.localize.cascade import Cascade
from mapdrop.localize.data import DataError
from mapdrop.localize.machine import machine, versions
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.run.decoding import decode
from mapdrop.localize.run.folder import RunError
from mapdrop.localize.run.images import LabelledImages
from mapdrop.localize.run.settings import Settings, check_size
from mapdrop.localize.scores import unique_names
from mapdrop.torch import compact
from mapdrop.torch.compact import Costs, calibrate

Json = dict[str, Any]
MAX_JOINTS, MAX_THREADS = 1000, 1024
"""Largest values that a record may have; larger ones could exhaust the memory."""


@dataclass(frozen=True)
class Data:
    """The description of a run's images.

    Attributes:
        name, joints, size, radii, unit: as in `LabelledImages`.
        swaps: the joint that each joint becomes in a mirrored image; None without mirroring.
    """

    name: str
    joints: tuple[str, ...]
    size: tuple[int, int]
    radii: tuple[float, float]
    unit: str
    swaps: list[int] | None

    def __post_init__(self) -> None:
        unique_names(self.joints)
        if not 1 <= len(self.joints) <= MAX_JOINTS or not all(self.joints):
            raise ValueError(f"a run has 1 to {MAX_JOINTS} named joints, not {len(self.joints)}")
        check_size(self.size)
        if not 0 < self.radii[0] <= self.radii[1]:
            raise ValueError(f"radii should be positive and ascending, not {self.radii}")
        if self.swaps is not None and sorted(self.swaps) != list(range(len(self.joints))):
            raise ValueError(f"swaps should name each joint once, not {self.swaps!r:.60}")


@dataclass(frozen=True)
class Record:
    """Everything that must be unchanged when a run is resumed or used.

    Attributes:
        settings: the run's settings.
        data: the description of its images.
        seen: digests of the training and of the validation images.
        costs: constants by which `compact` decides what to skip, which affects rounding; None
            means that they are calibrated.
        threads: PyTorch's threads; how sums are split affects rounding.
        about: versions, hardware and time, for people.
    """

    settings: Settings
    data: Data
    seen: dict[str, list[str]]
    costs: Costs | None
    threads: int
    about: Json

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= MAX_THREADS:
            raise ValueError(f"threads should be 1 to {MAX_THREADS}, not {self.threads}")
        if set(self.seen) != {"train", "validation"}:
            raise ValueError(f"seen should have train and validation, not {list(self.seen)!r:.60}")
        if self.costs is not None and not all(cost > 0 for cost in asdict(self.costs).values()):
            raise ValueError("costs should be positive")

    @classmethod
    def of(
        cls,
        settings: Settings,
        train: LabelledImages,
        validation: LabelledImages,
        device: torch.device,
    ) -> Record:
        """Describe a run that starts on this machine now.

        Raises:
            DataError: when images are to be mirrored, and a joint has a side but no opposite.
        """
        data = Data(
            train.name,
            train.joints,
            train.size,
            train.radii,
            train.unit,
            settings.training.mirroring(train.joints).swaps,
        )
        needs_costs = settings.training.compact and device.type == "cpu"
        return cls(
            settings,
            data,
            {"train": train.digests(), "validation": validation.digests()},
            calibrate() if needs_costs else None,
            torch.get_num_threads(),
            {
                "versions": versions(),
                "machine": machine(),
                "device": str(device),
                "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            },
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Record:
        """Return the record that `to_json` wrote.

        Raises:
            RunError: when the values are invalid.
        """
        values = {name: value for name, value in values.items() if name != "format"}
        try:
            return decode(cls, values)
        except ValueError as error:
            raise RunError(
                f"the run's record can't be read: {error}; restore run.json, or train again"
            ) from error

    def to_json(self) -> Json:
        """Return the values that `from_json` reads."""
        return asdict(self)

    def check(self, settings: Settings, train: LabelledImages, validation: LabelledImages) -> None:
        """Check that the settings and images are those of this run.

        Raises:
            RunError, DataError: when they aren't; the message names the differences.
        """
        differences = self.settings.differences(settings)
        if differences:
            raise RunError(
                f"the run was started with other settings, so it can't be resumed: it has "
                f"{'; '.join(differences)}. Use the same settings, or choose another --out"
            )
        for part, images in (("train", train), ("validation", validation)):
            if self.seen[part] != images.digests():
                raise DataError(
                    f"the images of {train.name} have changed since the run was started; "
                    "restore them, or choose another --out"
                )

    def model(self) -> CoarseNet | Cascade:
        """Build the run's network with its initial weights."""
        settings = self.settings
        model = settings.network.build(len(self.data.joints), settings.training.seed)
        if not settings.training.compact:
            return model
        if isinstance(model, CoarseNet):
            return compact(model, self.costs)
        model.coarse = compact(model.coarse, self.costs)
        return model

"""What a run's record says beside its settings: the data and the machine that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import torch

from mapdrop.localize.cascade import Cascade
from mapdrop.localize.data import DataError, swaps
from mapdrop.localize.machine import machine, versions
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.run.decoding import decoded
from mapdrop.localize.run.folder import RunError
from mapdrop.localize.run.pictures import Pictures
from mapdrop.localize.run.settings import Settings, check_size
from mapdrop.localize.scores import distinct
from mapdrop.torch import compact
from mapdrop.torch.compact import Costs, calibrate

Json = dict[str, Any]
JOINTS, THREADS = 1000, 1024
"""The most that a record may ask for: what is made in those numbers could fill the memory."""


@dataclass(frozen=True)
class Data:
    """The pictures of a run.

    Attributes:
        name, joints, size, radii, unit: as in `Pictures`.
        swaps: which joint is which in a mirror; None where none is mirrored.
    """

    name: str
    joints: tuple[str, ...]
    size: tuple[int, int]
    radii: tuple[float, float]
    unit: str
    swaps: list[int] | None

    def __post_init__(self) -> None:
        distinct(self.joints)
        if not 1 <= len(self.joints) <= JOINTS or not all(self.joints):
            raise ValueError(f"a run has 1 to {JOINTS} joints with names, not {len(self.joints)}")
        check_size(self.size)
        if not 0 < self.radii[0] <= self.radii[1]:
            raise ValueError(f"radii are positive and rise, not {self.radii}")
        if self.swaps is not None and sorted(self.swaps) != list(range(len(self.joints))):
            raise ValueError(f"swaps should name each joint once, not {self.swaps!r:.60}")


@dataclass(frozen=True)
class Record:
    """Everything that has to be as it was when a run goes on, or is used.

    Attributes:
        settings: what was asked for.
        data: the pictures.
        seen: digests of the pictures that train and that validate.
        costs: constants by which `compact` decides what to skip, and with it how results are
            rounded; None leaves them to be measured.
        threads: of PyTorch; sums are rounded by how they are split.
        about: versions, hardware and time, for people.
    """

    settings: Settings
    data: Data
    seen: dict[str, list[str]]
    costs: Costs | None
    threads: int
    about: Json

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= THREADS:
            raise ValueError(f"threads are 1 to {THREADS}, not {self.threads}")
        if set(self.seen) != {"train", "validation"}:
            raise ValueError(f"seen should be of train and validation, not {list(self.seen)!r:.60}")
        if self.costs is not None and not all(cost > 0 for cost in asdict(self.costs).values()):
            raise ValueError("costs should be positive")

    @classmethod
    def of(
        cls, settings: Settings, train: Pictures, validation: Pictures, device: torch.device
    ) -> Record:
        """Of a run that begins here and now.

        Raises:
            DataError: when images shall be mirrored, and a joint has a side but no opposite.
        """
        data = Data(
            train.name,
            train.joints,
            train.size,
            train.radii,
            train.unit,
            _mirrored(train.joints, settings.training.flip),
        )
        costs = settings.training.compact and device.type == "cpu"
        return cls(
            settings,
            data,
            {"train": train.digests(), "validation": validation.digests()},
            calibrate() if costs else None,
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
        """What `to_json` wrote.

        Raises:
            RunError: when it isn't that.
        """
        own = {name: value for name, value in values.items() if name != "format"}
        try:
            return decoded(cls, own)
        except ValueError as error:
            raise RunError(
                f"the run's record can't be read: {error}; restore run.json, or train again"
            ) from error

    def to_json(self) -> Json:
        """What `from_json` reads."""
        return asdict(self)

    def check(self, settings: Settings, train: Pictures, validation: Pictures) -> None:
        """Whether a run that was asked for so, on these pictures, is this one.

        Raises:
            RunError, DataError: when it isn't, with what differs.
        """
        differences = self.settings.differences(settings)
        if differences:
            raise RunError(
                f"the run was begun with other settings, so it can't be resumed: it has "
                f"{'; '.join(differences)}. Ask for the same, or choose another --out"
            )
        for part, pictures in (("train", train), ("validation", validation)):
            if self.seen[part] != pictures.digests():
                raise DataError(
                    f"the pictures of {train.name} are not those that the run was begun with; "
                    "restore them, or choose another --out"
                )

    def model(self) -> CoarseNet | Cascade:
        """The run's network with its start weights."""
        settings = self.settings
        model = settings.network.build(len(self.data.joints), settings.training.seed)
        if not settings.training.compact:
            return model
        if isinstance(model, CoarseNet):
            return compact(model, self.costs)
        model.coarse = compact(model.coarse, self.costs)
        return model


def _mirrored(joints: tuple[str, ...], wanted: bool | None) -> list[int] | None:
    """Which joint is which in a mirror; None where images shall not be mirrored.

    Unless somebody says so they are when joints come in pairs, left and right: of other things (a
    letter, a heart) there may be no mirror image in the world.
    """
    if wanted is False:
        return None
    try:
        pairs = [int(joint) for joint in swaps(joints)]
    except DataError:
        if wanted:
            raise
        return None
    return pairs if wanted or pairs != sorted(pairs) else None

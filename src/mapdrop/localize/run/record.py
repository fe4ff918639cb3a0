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
from mapdrop.localize.run.folder import RunError
from mapdrop.localize.run.pictures import Pictures
from mapdrop.localize.run.settings import Settings
from mapdrop.torch import compact
from mapdrop.torch.compact import Costs, measured

Json = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """Everything that has to be as it was when a run goes on, or is used.

    Attributes:
        settings: what was asked for.
        data: name, joints, size, radii and unit of the pictures, and which joint is which in a
            mirror (null where none is mirrored).
        seen: digests of the pictures that train and that validate.
        costs: constants by which `compact` decides what to skip, and with it how results are
            rounded; None leaves them to be measured.
        threads: of PyTorch; sums are rounded by how they are split.
        about: versions, hardware and time, for people.
    """

    settings: Settings
    data: Json
    seen: dict[str, list[str]]
    costs: Json | None
    threads: int
    about: Json

    @classmethod
    def of(
        cls, settings: Settings, train: Pictures, validation: Pictures, device: torch.device
    ) -> Record:
        """Of a run that begins here and now.

        Raises:
            DataError: when images shall be mirrored, and a joint has a side but no opposite.
        """
        data = {
            "name": train.name,
            "joints": list(train.joints),
            "size": list(train.size),
            "radii": list(train.radii),
            "unit": train.unit,
            "swaps": _mirrored(train.joints, settings.training.flip),
        }
        costs = settings.training.compact and device.type == "cpu"
        return cls(
            settings,
            data,
            {"train": train.digests(), "validation": validation.digests()},
            asdict(measured()) if costs else None,
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
        try:
            return cls(
                Settings.from_json(values["settings"]),
                values["data"],
                values["seen"],
                values["costs"],
                int(values["threads"]),
                values["about"],
            )
        except (KeyError, TypeError) as error:
            raise RunError(f"the run's record can't be read: {error!r} is missing") from error

    def to_json(self) -> Json:
        """What `from_json` reads."""
        own = {name: getattr(self, name) for name in ("data", "seen", "costs", "threads", "about")}
        return {"settings": self.settings.to_json(), **own}

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
        model = settings.network.build(len(self.data["joints"]), settings.training.seed)
        if not settings.training.compact:
            return model
        costs = None if self.costs is None else Costs(**self.costs)
        if isinstance(model, CoarseNet):
            return compact(model, costs)
        model.coarse = compact(model.coarse, costs)
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

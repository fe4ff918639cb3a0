"""A finished or interrupted run, ready to find joints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mapdrop.localize.cascade import Cascade
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.normalise import local_contrast
from mapdrop.localize.readout import Found
from mapdrop.localize.run.checkpoint import Checkpoint
from mapdrop.localize.run.folder import Folder, RunError
from mapdrop.localize.run.pictures import to_tensor
from mapdrop.localize.run.record import Record
from mapdrop.localize.train import predict


@dataclass(frozen=True)
class Trained:
    """The best network of a run.

    Attributes:
        record: what the run began with.
        model: in evaluation mode: the coarse network, or the cascade if its refiner is trained.
        device: where it is.
    """

    record: Record
    model: CoarseNet | Cascade
    device: torch.device

    @classmethod
    def of(cls, path: Path, device: torch.device) -> Trained:
        """From a run's folder.

        Raises:
            RunError: when it holds no run, or was stopped before the first validation.
        """
        folder = Folder(path)
        record = Record.from_json(folder.read_record())
        best = Checkpoint.read(folder.best)
        model = record.model()
        best.restore(model)
        stage = best.about.get("stage")
        if stage not in list(record.settings.training.stages(cascade=True)):
            raise RunError(f"{folder.best} is of no stage of a training, but {stage!r:.60}")
        if isinstance(model, Cascade) and stage == "coarse":
            model = model.coarse
        return cls(record, model.to(device).eval(), device)

    @property
    def joints(self) -> tuple[str, ...]:
        """The names of what it finds."""
        return self.record.data.joints

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) that pictures are fitted into."""
        return self.record.data.size

    def locate(self, images: npt.NDArray[np.uint8]) -> Found:
        """Where the joints are in working images (N, H, W, 3); points in working pixels.

        Raises:
            RunError: when the network finds numbers that are not finite.
        """
        found = predict(self.model, self._seen(images))
        if not all(torch.isfinite(values).all() for values in found):
            raise RunError("the network's heat maps are not finite: train it again")
        return found

    def _seen(self, images: npt.NDArray[np.uint8]) -> Tensor:
        return local_contrast(to_tensor(images).to(self.device).float())

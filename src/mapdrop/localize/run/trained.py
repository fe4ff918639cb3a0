"""Load the best network of a finished or interrupted run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mapdrop.localize.cascade import Cascade
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.normalise import local_contrast
from mapdrop.localize.readout import Detections
from mapdrop.localize.run.checkpoint import Checkpoint
from mapdrop.localize.run.folder import Folder, RunError
from mapdrop.localize.run.images import to_tensor
from mapdrop.localize.run.record import Record
from mapdrop.localize.train import predict
from mapdrop.torch import predict as monte_carlo


class _Points(nn.Module):
    """Finds the joints in normalised images (N, 3, H, W): (N, K, 2)."""

    def __init__(self, model: CoarseNet | Cascade) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.locate(images).points


@dataclass(frozen=True)
class TrainedModel:
    """The best network of a run.

    Attributes:
        record: the run's record.
        model: the coarse network, or the cascade if its refiner is trained; in evaluation mode.
        device: the model's device.
    """

    record: Record
    model: CoarseNet | Cascade
    device: torch.device

    @classmethod
    def load(cls, path: Path, device: torch.device) -> TrainedModel:
        """Load from a run's folder.

        Raises:
            RunError: when it holds no run, or the run was stopped before its first validation.
        """
        folder = Folder(path)
        record = Record.from_json(folder.read_record())
        best = Checkpoint.read(folder.best)
        model = record.model()
        best.restore(model)
        stage = best.metadata.get("stage")
        if stage not in list(record.settings.training.stages(cascade=True)):
            raise RunError(f"{folder.best} is of the unknown stage {stage!r:.60}")
        if isinstance(model, Cascade) and stage == "coarse":
            model = model.coarse
        return cls(record, model.to(device).eval(), device)

    @property
    def joints(self) -> tuple[str, ...]:
        """Return the joints' names."""
        return self.record.data.joints

    @property
    def size(self) -> tuple[int, int]:
        """Return the (width, height) of the working images."""
        return self.record.data.size

    def locate(self, images: npt.NDArray[np.uint8]) -> Detections:
        """Find the joints in working images (N, H, W, 3); points are in working pixels.

        Raises:
            RunError: when the network's outputs are not finite.
        """
        detections = predict(self.model, self._normalised(images))
        if not all(torch.isfinite(values).all() for values in detections):
            raise RunError("the network's heat maps are not finite: train it again")
        return detections

    def spread(self, images: npt.NDArray[np.uint8], passes: int, seed: int) -> Tensor:
        """Return how far each joint lies from its mean over passes with dropout, (N, K).

        That is the root mean square, in working pixels. What no drop leads to is computed once.

        Raises:
            RunError: when the network has no dropout.
        """
        try:
            found = monte_carlo(self._points, self._normalised(images), passes, seed=seed)
        except ValueError as error:
            raise RunError(f"{error}; train with --drop spatial") from error
        wide: Tensor = found.std.square().sum(-1).sqrt()
        return wide

    @cached_property
    def _points(self) -> nn.Module:
        """The network as a module that returns points: what is read of it is kept for it."""
        return _Points(self.model)

    def _normalised(self, images: npt.NDArray[np.uint8]) -> Tensor:
        return local_contrast(to_tensor(images).to(self.device).float())

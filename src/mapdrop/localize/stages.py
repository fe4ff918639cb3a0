"""The three stages of training a cascade, each as a module that turns a batch into its loss.

Tompson et al. (CVPR 2015, section 4.3) train the coarse network, then the refiner alone, then both
with E1 + 0.1 E2, the errors of the coarse and the fine heat maps.
"""

from __future__ import annotations

from torch import Tensor, nn

from mapdrop.localize.batches import Batch
from mapdrop.localize.cascade import Cascade, to_window
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.targets import gaussian_targets, heat_map_loss, to_heat

FINE_SHARE = 0.1
"""Weight of the fine heat maps' error in the last stage."""

JITTER = 8.0
"""Image pixels by which a window of the refiner is moved off where the coarse network points, at
most: about as far as that is off on images it has not seen."""


class CoarseStage(nn.Module):
    """E1: the coarse network's heat maps against Gaussians at the joints."""

    def __init__(self, coarse: CoarseNet) -> None:
        super().__init__()
        self.coarse = coarse.requires_grad_(True)

    def forward(self, batch: Batch) -> Tensor:
        """The loss; its sum over the parts of a batch is the batch's."""
        return coarse_error(self.coarse(batch.images), batch, self.coarse.pooling)


class FineStage(nn.Module):
    """E2: the refiner's heat maps. The coarse network is held still, and drops nothing."""

    def __init__(self, cascade: Cascade) -> None:
        super().__init__()
        self.cascade = cascade
        cascade.refiner.requires_grad_(True)
        cascade.coarse.requires_grad_(False)

    def train(self, mode: bool = True) -> FineStage:
        """Puts the refiner in training mode; the coarse network stays as it predicts."""
        super().train(mode)
        self.cascade.coarse.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        """The loss; its sum over the parts of a batch is the batch's."""
        looks = self.cascade(batch.images, JITTER * batch.jitter)
        return fine_error(looks.fine, looks.centres, batch)


class JointStage(nn.Module):
    """E1 + 0.1 E2: everything learns, the shared features from both."""

    def __init__(self, cascade: Cascade) -> None:
        super().__init__()
        self.cascade = cascade.requires_grad_(True)

    def forward(self, batch: Batch) -> Tensor:
        """The loss; its sum over the parts of a batch is the batch's."""
        looks = self.cascade(batch.images, JITTER * batch.jitter)
        coarse = coarse_error(looks.heats, batch, self.cascade.coarse.pooling)
        return coarse + FINE_SHARE * fine_error(looks.fine, looks.centres, batch)


def coarse_error(heats: Tensor, batch: Batch, pooling: int) -> Tensor:
    """Of heat maps of the whole image, (N, K, rows, columns)."""
    targets = gaussian_targets(to_heat(batch.points, pooling), (heats.shape[-2], heats.shape[-1]))
    return heat_map_loss(heats.float(), targets, batch.labelled)


def fine_error(fine: Tensor, centres: Tensor, batch: Batch) -> Tensor:
    """Of windows around `centres`; one that does not show its joint should be empty."""
    targets = gaussian_targets(to_window(batch.points, centres), (fine.shape[-2], fine.shape[-1]))
    return heat_map_loss(fine.float(), targets, batch.labelled)

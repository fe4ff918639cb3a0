"""The three stages of training a cascade, each a module that maps a batch to its loss.

Tompson et al. (CVPR 2015, section 4.3) train the coarse network, then the refiner alone, then both
with E1 + 0.1 E2, the errors of the coarse and the fine heat maps.
"""

from __future__ import annotations

from torch import Tensor, nn

from mapdrop.localize.batches import Batch
from mapdrop.localize.cascade import Cascade, to_window
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.targets import gaussian_targets, heat_map_loss, to_heat_map

FINE_SHARE = 0.1
"""Weight of the fine heat maps' error in the last stage."""

JITTER = 8.0
"""Image pixels by which a refiner's window is shifted from the coarse network's detection, at
most: about its typical error on unseen images."""


class CoarseStage(nn.Module):
    """Train the coarse network by E1: its heat maps against Gaussians at the joints."""

    def __init__(self, coarse: CoarseNet) -> None:
        super().__init__()
        self.coarse: CoarseNet = coarse.requires_grad_(True)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss; the losses of a batch's shards add up to that of the batch."""
        return coarse_error(self.coarse(batch.images), batch, self.coarse.pooling)


class FineStage(nn.Module):
    """Train the refiner by E2, its heat maps' error; the coarse network is frozen, in eval mode."""

    def __init__(self, cascade: Cascade) -> None:
        super().__init__()
        self.cascade = cascade
        cascade.refiner.requires_grad_(True)
        cascade.coarse.requires_grad_(False)

    def train(self, mode: bool = True) -> FineStage:
        """Put the refiner into training mode; the coarse network stays in evaluation mode."""
        super().train(mode)
        self.cascade.coarse.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss; the losses of a batch's shards add up to that of the batch."""
        output = self.cascade(batch.images, JITTER * batch.jitter)
        return fine_error(output.fine, output.centres, batch)


class JointStage(nn.Module):
    """Train both networks by E1 + 0.1 E2; the shared features learn from both errors."""

    def __init__(self, cascade: Cascade) -> None:
        super().__init__()
        self.cascade: Cascade = cascade.requires_grad_(True)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss; the losses of a batch's shards add up to that of the batch."""
        output = self.cascade(batch.images, JITTER * batch.jitter)
        coarse = coarse_error(output.heat_maps, batch, self.cascade.coarse.pooling)
        return coarse + FINE_SHARE * fine_error(output.fine, output.centres, batch)


def stage_of(model: CoarseNet | Cascade, name: str) -> tuple[nn.Module, CoarseNet | Cascade]:
    """Return the module that trains a stage, "coarse", "fine" or "joint", and what it trains."""
    if isinstance(model, CoarseNet):
        return CoarseStage(model), model
    if name == "coarse":
        return CoarseStage(model.coarse), model.coarse
    return (FineStage if name == "fine" else JointStage)(model), model


def coarse_error(heat_maps: Tensor, batch: Batch, pooling: int) -> Tensor:
    """Return E1, the error of the coarse heat maps, (N, K, rows, columns)."""
    targets = gaussian_targets(
        to_heat_map(batch.points, pooling), (heat_maps.shape[-2], heat_maps.shape[-1])
    )
    return heat_map_loss(heat_maps.float(), targets, batch.labelled)


def fine_error(fine: Tensor, centres: Tensor, batch: Batch) -> Tensor:
    """Return E2, the error of windows around `centres`; without its joint one should be empty."""
    targets = gaussian_targets(to_window(batch.points, centres), (fine.shape[-2], fine.shape[-1]))
    return heat_map_loss(fine.float(), targets, batch.labelled)

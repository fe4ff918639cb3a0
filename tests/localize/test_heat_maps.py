"""The loss, and targets and readout, which must be inverse to each other."""

from __future__ import annotations

import pytest
import torch

from mapdrop.localize.readout import peaks
from mapdrop.localize.targets import gaussian_targets, heat_map_loss, to_heat_map, to_image

NAN = float("nan")


def test_the_first_heat_map_pixel_is_centred_in_its_eight_image_pixels() -> None:
    torch.testing.assert_close(to_image(torch.tensor([0.0, 1.0]), 8), torch.tensor([3.5, 11.5]))
    torch.testing.assert_close(to_heat_map(torch.tensor([3.5, 11.5]), 8), torch.tensor([0.0, 1.0]))


def test_a_target_is_a_gaussian_of_height_one_and_sigma_one_and_a_half() -> None:
    target = gaussian_targets(torch.tensor([[[4.0, 2.0]]]), (6, 8))[0, 0]
    assert target.shape == (6, 8)
    torch.testing.assert_close(target[2, 4], torch.tensor(1.0))
    torch.testing.assert_close(target[2, 5], torch.tensor(-0.5 / 1.5**2).exp())
    torch.testing.assert_close(target[4, 5], torch.tensor(-2.5 / 1.5**2).exp())


@pytest.mark.parametrize("x", [-0.5, 0.0, 3.5, 40.3, 47.9, 92.0, 95.4])
@pytest.mark.parametrize("y", [0.2, 7.7, 52.1, 63.5])
def test_the_readout_finds_the_point_of_its_target(x: float, y: float) -> None:
    points = torch.tensor([[[x, y]]])
    at, height = peaks(gaussian_targets(to_heat_map(points, 8), (8, 12)))
    torch.testing.assert_close(to_image(at, 8), points, atol=1e-2, rtol=0)
    assert 0.8 < height.item() <= 1


def test_the_readout_stays_at_a_flat_maximum() -> None:
    at, height = peaks(torch.zeros(1, 1, 1, 1))
    torch.testing.assert_close(at, torch.zeros(1, 1, 2))
    torch.testing.assert_close(height, torch.zeros(1, 1))
    at, height = peaks(-torch.rand(2, 3, 5, 7))
    assert at.isfinite().all()
    assert (height == 0).all()


def test_the_loss_is_the_sum_over_pixels_and_the_mean_over_labelled_joints() -> None:
    targets = torch.zeros(2, 2, 3, 4)
    targets[1, 1] = NAN
    heat_maps = torch.full_like(targets, 2.0)
    assert heat_map_loss(heat_maps, targets).item() == 4 * 12


def test_a_missing_joint_gives_no_gradient_and_the_others_do() -> None:
    targets = gaussian_targets(torch.tensor([[[1.0, 1.0], [NAN, NAN]]]), (4, 4))
    heat_maps = torch.zeros_like(targets).requires_grad_()
    heat_map_loss(heat_maps, targets).backward()
    assert heat_maps.grad is not None
    torch.testing.assert_close(heat_maps.grad[0, 0], -2 * targets[0, 0])
    assert (heat_maps.grad[0, 1] == 0).all()


def test_the_losses_of_a_batch_in_parts_add_up_to_its_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    heat_maps, targets = torch.rand(2, 6, 3, 4, 4, generator=generator)
    targets[:4, 1:] = NAN
    labelled = torch.tensor(4 + 6)
    parts = [
        heat_map_loss(heat_maps[part], targets[part], labelled) for part in ([0, 1, 2], [3, 4, 5])
    ]
    torch.testing.assert_close(sum(parts), heat_map_loss(heat_maps, targets))
    # Means over the shards would not: the second has more labels.
    means = [heat_map_loss(heat_maps[part], targets[part]) for part in ([0, 1, 2], [3, 4, 5])]
    assert abs((means[0] + means[1]) / 2 - heat_map_loss(heat_maps, targets)) > 1e-2


def test_a_batch_without_labels_has_no_loss() -> None:
    heat_maps = torch.ones(1, 1, 2, 2, requires_grad=True)
    loss = heat_map_loss(heat_maps, torch.full((1, 1, 2, 2), NAN))
    loss.backward()
    assert loss.item() == 0
    assert heat_maps.grad is not None
    assert (heat_maps.grad == 0).all()

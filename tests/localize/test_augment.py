"""Augmentation: pixels and points move together, and the shards of a batch form the batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mapdrop.localize.augment import Augment, Transforms, adjust_brightness, warp, warp_points
from mapdrop.localize.batches import Batches
from mapdrop.localize.normalise import local_contrast

EVERYTHING = Augment(shift=5, rotation=40, scale=1.4, brightness=0.3, flip=True)
SIDE = 48


def spots(points: Tensor) -> Tensor:
    """Draw a small Gaussian at each point, (N, K, SIDE, SIDE)."""
    places = torch.arange(SIDE)
    across = torch.exp(-0.5 * ((places - points[..., :1]) / 2) ** 2)
    down = torch.exp(-0.5 * ((places - points[..., 1:]) / 2) ** 2)
    return down[..., None] * across[..., None, :]


def middles(images: Tensor) -> Tensor:
    """Return the centroid of each plane, (N, K, 2)."""
    places = torch.arange(SIDE, dtype=images.dtype)
    total = images.sum(dim=(-1, -2))
    x, y = (images.sum(dim=axis) @ places / total for axis in (-2, -1))
    return torch.stack([x, y], dim=-1)


@pytest.mark.parametrize(
    "augment",
    [
        Augment(shift=5),
        Augment(rotation=40),
        Augment(scale=1.4),
        Augment(flip=True),
        EVERYTHING,
    ],
    ids=lambda augment: ",".join(k for k, v in vars(augment).items() if v != vars(Augment())[k]),
)
def test_pixels_and_points_move_together(augment: Augment) -> None:
    generator = torch.Generator().manual_seed(0)
    points = 16 + 16 * torch.rand(40, 3, 2, generator=generator)
    transforms = Transforms.sample(augment, 40, np.random.default_rng(1))
    swaps = torch.tensor([0, 2, 1])
    there = warp_points(points, transforms, (SIDE, SIDE), swaps)
    images = warp(spots(points), transforms)
    seen = middles(images)
    # The planes of a mirrored image show the same joints as before.
    seen = torch.where(transforms.mirrored[:, None, None], seen[:, swaps], seen)
    torch.testing.assert_close(there, seen, atol=0.1, rtol=0)
    assert (there - points).norm(dim=-1).max() > 2
    with pytest.raises(AssertionError):
        torch.testing.assert_close(there.flip(-1), seen, atol=0.1, rtol=0)


def test_no_change_leaves_pixels_and_points() -> None:
    points, transforms = (
        torch.rand(4, 2, 2) * SIDE,
        Transforms.sample(Augment(), 4, np.random.default_rng()),
    )
    images = torch.rand(4, 3, SIDE, 32)
    torch.testing.assert_close(warp(images, transforms), images, atol=1e-4, rtol=0)
    torch.testing.assert_close(adjust_brightness(images, transforms), images, rtol=0, atol=0)
    there = warp_points(points, transforms, (SIDE, SIDE), torch.arange(2))
    inside = (points <= SIDE - 1).all(dim=-1)
    torch.testing.assert_close(there[inside], points[inside])


def test_a_joint_that_leaves_the_image_is_missing() -> None:
    points = torch.tensor([[[1.0, 20.0], [20.0, 20.0], [torch.nan, torch.nan]]]).expand(50, 3, 2)
    transforms = Transforms.sample(Augment(shift=6), 50, np.random.default_rng(0))
    there = warp_points(points, transforms, (SIDE, SIDE), torch.arange(3))
    gone = there.isnan().any(dim=-1)
    assert (gone[:, 0] == (transforms.offset[:, 0] < -1)).all()
    assert 5 < gone[:, 0].sum() < 45
    assert not gone[:, 1].any()
    assert gone[:, 2].all()


def test_changes_stay_within_their_limits_and_reach_them() -> None:
    transforms = Transforms.sample(EVERYTHING, 4000, np.random.default_rng(0))
    size = torch.linalg.det(transforms.matrix).abs().sqrt()
    upright = torch.where(transforms.mirrored, -1, 1)
    angle = torch.rad2deg(
        torch.atan2(upright * transforms.matrix[:, 1, 0], transforms.matrix[:, 1, 1])
    )
    for values, low, high in (
        (size, 1 / 1.4, 1.4),
        (angle, -40, 40),
        (transforms.gain, 0.7, 1.3),
        (transforms.offset, -5, 5),
    ):
        assert low - 1e-3 <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high + 1e-3
    assert 0.4 < transforms.mirrored.float().mean() < 0.6


def test_light_is_cut_off_as_a_camera_does() -> None:
    images = torch.full((1, 3, 2, 2), 200.0)
    transforms = replace(
        Transforms.sample(Augment(), 1, np.random.default_rng()), gain=torch.tensor([2.0])
    )
    assert (adjust_brightness(images, transforms) == 255).all()


@pytest.mark.parametrize(
    "wrong",
    [{"shift": -1}, {"rotation": 181}, {"scale": 0.5}, {"brightness": 1.0}, {"shift": np.nan}],
    ids=str,
)
def test_invalid_augmentation_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augment(**wrong)


def some(count: int, **settings: Any) -> Batches:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (count, 3, 24, 32), generator=generator, dtype=torch.uint8)
    points = 20 * torch.rand(count, 3, 2, generator=generator)
    return Batches(images, points, **{"size": 4, "seed": 5, **settings})


def test_every_image_comes_once_before_any_comes_again() -> None:
    batches = some(10)
    order = np.concatenate([batches._indices(step) for step in range(10)])
    for start in range(0, 40, 10):
        assert sorted(order[start : start + 10]) == list(range(10))
    assert order[:10].tolist() != order[10:20].tolist()


def test_a_batch_larger_than_the_set_goes_round_it_again() -> None:
    assert sorted(some(3, size=6)._indices(0)) == [0, 0, 1, 1, 2, 2]


def test_without_changes_a_batch_is_the_normalised_images() -> None:
    batches = some(10)
    batch, chosen = batches[2], batches._indices(2)
    expected = local_contrast(batches.images[chosen].float())
    torch.testing.assert_close(batch.images, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(batch.points, batches.points[chosen])


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    batches = some(10, augment=EVERYTHING, swaps=[0, 2, 1])
    again, other = batches[7], some(10, seed=6, augment=EVERYTHING)[7]
    for one, same in zip(batches[7], again, strict=True):
        torch.testing.assert_close(one, same, rtol=0, atol=0, equal_nan=True)
    assert (batches[8].images - again.images).abs().max() > 1
    assert (other.images - again.images).abs().max() > 1


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_parts_of_a_batch_make_the_batch(world_size: int) -> None:
    whole = some(10, augment=EVERYTHING, swaps=[0, 2, 1])[3]
    parts = [
        some(10, augment=EVERYTHING, swaps=[0, 2, 1], rank=rank, world_size=world_size)[3]
        for rank in range(world_size)
    ]
    for name in ("images", "points", "jitter"):
        joined = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(joined, getattr(whole, name), rtol=0, atol=0, equal_nan=True)
    assert {int(part.labelled) for part in parts} == {int(whole.labelled)}

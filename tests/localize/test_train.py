"""Augmentation, batches and learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mapdrop.localize.augment import shifted
from mapdrop.localize.data import Request, load
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.normalise import local_contrast
from mapdrop.localize.train import Recipe, TrainingDivergedError, batches, predict, train


def scenes(count: int) -> tuple[Tensor, Tensor]:
    data = load("scenes", Request(train_size=count, test_size=1))
    images = torch.from_numpy(local_contrast(data.images[data.train]))
    return images, torch.from_numpy(data.points[data.train]).float()


def test_a_shift_moves_pixels_and_points_together() -> None:
    points = torch.randint(0, 20, (50, 1, 2), generator=torch.Generator().manual_seed(0)).float()
    images = torch.zeros(50, 1, 20, 20)
    for image, (x, y) in zip(images, points[:, 0].int(), strict=True):
        image[0, y, x] = 1
    moved, there = shifted(images, points, 6, torch.Generator().manual_seed(1))
    gone = there.isnan().any(dim=-1)[:, 0]
    assert 5 < gone.sum() < 30
    assert (moved[gone] == 0).all()
    for image, (x, y) in zip(moved[~gone], there[~gone][:, 0].int(), strict=True):
        assert image[0, y, x] == 1
        assert image.sum() == 1
    assert (there[~gone] != points[~gone]).any(dim=-1).float().mean() > 0.9


def test_no_shift_changes_nothing() -> None:
    images, points = torch.rand(3, 2, 8, 8), torch.rand(3, 1, 2)
    moved, there = shifted(images, points, 0, torch.Generator())
    torch.testing.assert_close(moved, images, rtol=0, atol=0)
    torch.testing.assert_close(there, points, rtol=0, atol=0)


def test_every_image_comes_once_before_any_comes_again() -> None:
    images = torch.arange(10.0).reshape(10, 1, 1, 1)
    recipe = Recipe(steps=10, batch=4, shift=0)
    given = list(batches(images, torch.zeros(10, 1, 2), recipe, seed=3))
    assert [len(batch) for batch, _ in given] == [4] * 10
    order = torch.cat([batch.flatten() for batch, _ in given])
    for start in range(0, 40, 10):
        assert sorted(order[start : start + 10].tolist()) == list(range(10))
    assert order[:10].tolist() != order[10:20].tolist()


def test_a_small_network_learns_a_few_scenes_by_heart() -> None:
    images, points = scenes(4)
    torch.manual_seed(0)
    net = CoarseNet(3, width=6, banks=1)
    losses = train(net, images, points, Recipe(steps=100, batch=4, shift=0), seed=0)
    _, found = predict(net, images)
    assert np.mean(losses[:3]) > 4
    assert losses[-1] < 0.4
    assert (found - points).norm(dim=-1).max() < 4


def test_the_same_seed_is_the_same_run() -> None:
    images, points = scenes(4)
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(5)
        net = CoarseNet(3, width=2, banks=1)
        runs.append(train(net, images, points, Recipe(steps=4, batch=2), seed=seed))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    images, points = scenes(2)
    with pytest.raises(TrainingDivergedError, match="smaller learning rate"):
        train(CoarseNet(3, width=2), images * torch.inf, points, Recipe(steps=3), seed=0)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"shift": -1}], ids=str
)
def test_a_recipe_without_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**wrong)  # type: ignore[arg-type]

"""Augmentation, batches and learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mapdrop.localize.augment import Augment
from mapdrop.localize.data import LoadOptions, load
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.normalise import local_contrast
from mapdrop.localize.train import Recipe, TrainingDivergedError, predict, train


def scenes(count: int) -> tuple[Tensor, Tensor]:
    data = load("scenes", LoadOptions(train_size=count, test_size=1))
    images = torch.from_numpy(data.images[data.train]).permute(0, 3, 1, 2)
    return images, torch.from_numpy(data.points[data.train]).float()


def test_a_small_network_learns_a_few_scenes_by_heart() -> None:
    images, points = scenes(4)
    torch.manual_seed(0)
    net = CoarseNet(3, width=6, banks=1, drop=nn.Identity)
    losses = train(net, images, points, Recipe(steps=100, batch=4, augment=Augment()), seed=0)
    found = predict(net, local_contrast(images.float())).points
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
        train(CoarseNet(3, width=2), images.float() * torch.inf, points, Recipe(steps=3), seed=0)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"clip": 0.0}, {"weight_decay": -1.0}],
    ids=str,
)
def test_an_invalid_recipe_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**wrong)

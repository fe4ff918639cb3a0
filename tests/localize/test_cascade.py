"""The cascade: its windows, what its stages train, and that refinement helps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mapdrop.localize.augment import Augment
from mapdrop.localize.batches import Batch, Batches
from mapdrop.localize.cascade import WINDOW, Cascade, Refiner, from_window, to_window, windows
from mapdrop.localize.data import LoadOptions, load
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.normalise import local_contrast
from mapdrop.localize.readout import peaks
from mapdrop.localize.stages import CoarseStage, FineStage, JointStage
from mapdrop.localize.targets import gaussian_targets, to_heat_map, to_image
from mapdrop.localize.train import Recipe, Trainer, predict

NAN = float("nan")


def coordinates(height: int, width: int, stride: int) -> Tensor:
    """Make maps whose values are the image coordinates (x, y) of their pixels."""
    x, y = (
        to_image(torch.arange(n // stride, dtype=torch.float32), stride) for n in (width, height)
    )
    return torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]))[None]


def a_batch(count: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, 48, 64, generator=generator) * 255
    points = 8 + 32 * torch.rand(count, 2, 2, generator=generator)
    points[0, 1] = NAN
    return Batches(images, points, count, seed=0, augment=Augment(shift=2))[0]


def test_windows_show_the_same_position_of_every_map() -> None:
    strides = (2, 4, 4, 8)
    features = tuple(coordinates(96, 128, stride) for stride in strides)
    centres = torch.tensor([[[60.0, 40.0], [51.3, 47.9]]])
    seen = windows(features, centres)
    assert seen.shape == (1, 2, 2 * len(strides), WINDOW, WINDOW)
    places = torch.arange(WINDOW, dtype=torch.float32)
    for joint, centre in enumerate(centres[0]):
        across = from_window(places[:, None], centre)[:, 0]
        down = from_window(places[:, None], centre)[:, 1]
        for x, y in seen[0, joint].unflatten(0, (-1, 2)):
            torch.testing.assert_close(x, across.expand(WINDOW, -1), atol=1e-3, rtol=0)
            torch.testing.assert_close(y, down[:, None].expand(-1, WINDOW), atol=1e-3, rtol=0)


def test_windows_are_zero_outside_the_image() -> None:
    seen = windows((torch.ones(1, 1, 32, 32),), torch.tensor([[[0.0, 0.0]]]))[0, 0, 0]
    assert (seen[: WINDOW // 2 - 1, : WINDOW // 2 - 1] == 0).all()
    assert (seen[WINDOW // 2 + 1 :, WINDOW // 2 + 1 :] == 1).all()


def test_window_coordinates_and_image_coordinates_are_each_others_inverse() -> None:
    points, centres = 100 * torch.rand(2, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(from_window(to_window(points, centres), centres), points)
    torch.testing.assert_close(to_window(centres, centres), torch.full((3, 4, 2), (WINDOW - 1) / 2))


def test_the_readout_of_a_perfect_refiner_is_the_point() -> None:
    points = torch.tensor([[[30.3, 21.8], [8.1, 40.0]]])
    centres = points + torch.tensor([[[6.0, -4.0], [-2.5, 11.0]]])
    fine = gaussian_targets(to_window(points, centres), (WINDOW, WINDOW))
    torch.testing.assert_close(from_window(peaks(fine)[0], centres), points, atol=1e-2, rtol=0)


@pytest.mark.parametrize("pooling", [4, 8, 16])
@pytest.mark.parametrize("banks", [1, 2, 3])
def test_it_locates_in_images_of_any_size(pooling: int, banks: int) -> None:
    net = Cascade(CoarseNet(5, width=2, banks=banks, pooling=pooling)).eval()
    found = predict(net, torch.randn(3, 3, 43, 61), batch=2)
    assert found.points.shape == (3, 5, 2)
    assert found.likelihood.shape == (3, 5)
    assert found.heat_maps.shape == (3, 5, -(-43 // pooling), -(-61 // pooling))


def test_only_the_last_convolution_is_a_joints_own() -> None:
    refiner = Refiner(3, 4, 2)
    maps = torch.randn(2, 3, 16, WINDOW, WINDOW)
    refiner(maps)[:, 1].sum().backward()
    assert refiner.own.weight.grad is not None
    assert [bool(grad.any()) for grad in refiner.own.weight.grad] == [False, True, False]
    same = refiner(maps[:, :1].expand(-1, 3, -1, -1, -1))
    assert (same[:, 0] - same[:, 1]).abs().max() > 1e-4


def test_the_fine_stage_holds_the_coarse_network_still() -> None:
    torch.manual_seed(0)
    cascade = Cascade(CoarseNet(2, width=2))
    before = {name: value.clone() for name, value in cascade.state_dict().items()}
    trainer = Trainer(FineStage(cascade), Recipe(steps=3))
    assert not cascade.coarse.training
    assert cascade.refiner.training
    for _ in range(3):
        trainer(a_batch())
    changed = {
        name for name, value in cascade.state_dict().items() if (value != before[name]).any()
    }
    assert changed
    assert all(name.startswith("refiner.") for name in changed)


def test_the_joint_stage_trains_everything_by_both_errors() -> None:
    torch.manual_seed(0)
    cascade, batch = Cascade(CoarseNet(2, width=2, drop=nn.Identity)), a_batch()
    stage = JointStage(cascade).train()
    loss = stage(batch)
    heat_maps, fine, centres = cascade(batch.images, 8 * batch.jitter)
    errors = [
        (maps - gaussian_targets(points, maps.shape[-2:])).square().sum(dim=(-1, -2)).nanmean()
        for maps, points in (
            (heat_maps, to_heat_map(batch.points, 8)),
            (fine, to_window(batch.points, centres)),
        )
    ]
    torch.testing.assert_close(loss, errors[0] + 0.1 * errors[1])
    assert abs(loss - errors[0] - errors[1]) > 1e-3
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in cascade.parameters())


def test_each_stage_trains_its_own_part() -> None:
    cascade = Cascade(CoarseNet(2, width=2))
    stages = (
        (lambda: CoarseStage(cascade.coarse), "coarse."),
        (lambda: FineStage(cascade), "refiner."),
        (lambda: JointStage(cascade), ""),
    )
    for make, prefix in stages:
        stage = make()
        trained = {name for name, p in cascade.named_parameters() if p.requires_grad}
        inside = {id(p) for p in stage.parameters() if p.requires_grad}
        assert {id(p) for n, p in cascade.named_parameters() if n.startswith(prefix)} == inside
        assert prefix == "coarse." or all(name.startswith(prefix) for name in trained)


def test_a_missing_joint_adds_no_loss_or_gradient() -> None:
    torch.manual_seed(0)
    cascade, batch = Cascade(CoarseNet(2, width=2)), a_batch()
    only = batch._replace(points=torch.full_like(batch.points, NAN))
    for stage in (FineStage(cascade), JointStage(cascade)):
        loss = stage.train()(only._replace(labelled=torch.tensor(0)))
        loss.backward()
        assert loss.item() == 0
        assert all(p.grad is None or not p.grad.any() for p in stage.parameters())


def test_the_cascade_is_more_accurate_than_the_coarse_network() -> None:
    data = load("scenes", LoadOptions(train_size=6, test_size=1))
    images = torch.from_numpy(data.images[data.train]).permute(0, 3, 1, 2)
    points = torch.from_numpy(data.points[data.train]).float()
    batches = Batches(images, points, 6, 0)
    torch.manual_seed(0)
    cascade = Cascade(CoarseNet(3, width=6, banks=1, pooling=16, drop=nn.Identity))
    errors = []
    networks: tuple[CoarseNet | Cascade, ...] = (cascade.coarse, cascade)
    for net in networks:
        stage = FineStage(net) if isinstance(net, Cascade) else CoarseStage(net)
        trainer = Trainer(stage, Recipe(steps=70))
        for step in range(70):
            trainer(batches[step])
        net.eval()
        found = predict(net, local_contrast(images.float())).points
        errors.append((found - points).norm(dim=-1).median())
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 1.5

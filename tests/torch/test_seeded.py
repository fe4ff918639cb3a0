"""A model's masks as a function of one seed: stopped and resumed, copied, recomputed."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import mapdrop
from mapdrop.torch import Dropout, SpatialDropout2d, seeded


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        SpatialDropout2d(0.5),
        nn.Sequential(nn.Conv2d(8, 8, 3), Dropout(0.5), nn.Flatten()),
    )


def forwards(net: nn.Module, count: int) -> list[Tensor]:
    x = torch.linspace(-1, 1, 4 * 3 * 81).reshape(4, 3, 9, 9)
    return [net(x) for _ in range(count)]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


def test_one_seed_one_run() -> None:
    torch.manual_seed(1)
    first = forwards(seeded(model(), 7), 3)
    torch.manual_seed(2)
    assert equal(forwards(seeded(model(), 7), 3), first)
    assert not equal(forwards(seeded(model(), 8), 3), first)
    assert not torch.equal(first[0], first[1])


def test_masks_are_of_seed_name_and_step() -> None:
    net = seeded(model(), 7)
    seen: list[tuple[Tensor, Tensor]] = []
    for name in ("1", "2.1"):
        layer = net.get_submodule(name)
        layer.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    forwards(net, 2)
    streams = [("1", 1), ("2.1", 1), ("1", 2), ("2.1", 2)]
    for (x, y), (stream, step) in zip(seen, streams, strict=True):
        pattern = "b c h w -> b c" if stream == "1" else "... -> ..."
        mask = mapdrop.mask(pattern, x.shape, 0.5, seed=7, stream=stream, step=step)
        assert torch.equal(y, mask.apply(x))


def test_a_resumed_run_has_the_masks_it_would_have_had() -> None:
    whole = forwards(seeded(model(), 7), 5)
    stopped = seeded(model(), 7)
    forwards(stopped, 3)
    state = pickle.loads(pickle.dumps(stopped.state_dict()))
    resumed = seeded(model(), 7)
    resumed.load_state_dict(state)
    assert equal(forwards(resumed, 2), whole[3:])
    # The guard: without the state dict the masks are those of the start.
    assert equal(forwards(seeded(model(), 7), 2), whole[:2])


def test_two_whole_trainings_one_of_them_stopped_end_bit_for_bit_alike() -> None:
    def train(net: nn.Module, steps: int) -> None:
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(steps):
            optimiser.zero_grad()
            forwards(net, 1)[0].square().mean().backward()
            optimiser.step()

    straight, first, second = (seeded(model(), 7) for _ in range(3))
    train(straight, 6)
    train(first, 2)
    second.load_state_dict(first.state_dict())
    train(second, 4)
    for name, value in straight.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_eval_does_not_advance() -> None:
    net = seeded(model(), 7)
    first = forwards(net, 1)
    net.eval()
    forwards(net, 3)
    net.train()
    assert int(net.mapdrop_step) == 1  # type: ignore[arg-type]
    assert equal(first + forwards(net, 1), forwards(seeded(model(), 7), 2))


def test_a_forward_of_a_part_does_not_advance() -> None:
    net = seeded(model(), 7)
    net[1](torch.ones(2, 8, 3, 3))
    assert int(net.mapdrop_step) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_go_on_by_themselves(how: str) -> None:
    net = seeded(model(), 7)
    forwards(net, 1)
    twin = copy.deepcopy(net) if how == "deepcopy" else pickle.loads(pickle.dumps(net))
    expected = forwards(net, 2)
    assert equal(forwards(twin, 2), expected)
    assert int(twin.mapdrop_step) == 3  # type: ignore[arg-type]


def test_seeding_again_starts_again() -> None:
    net = seeded(model(), 7)
    first = forwards(net, 2)
    assert equal(forwards(seeded(net, 7), 2), first)
    assert equal(forwards(seeded(net, 8), 2), forwards(seeded(model(), 8), 2))


def test_the_counter_moves_with_the_model() -> None:
    net = seeded(model(), 7).to(torch.float64)
    assert net.mapdrop_step.dtype == torch.int64
    assert seeded(model(), 7).to("meta").mapdrop_step.is_meta


def test_one_layer_in_two_places_is_told() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.drop(self.drop(x) + 1)  # type: ignore[no-any-return]

    with pytest.warns(UserWarning, match="'drop' of a seeded model was called twice"):
        seeded(Twice(), 1)(torch.ones(4))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, None, "7"])
def test_a_wrong_seed_is_refused(seed: object) -> None:
    net = model()
    with pytest.raises((TypeError, ValueError), match="seed is a whole number from 0"):
        seeded(net, seed)  # type: ignore[arg-type]
    assert "mapdrop_step" not in net.state_dict()

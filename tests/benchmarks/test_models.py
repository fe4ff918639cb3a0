"""The benchmark's networks: each trains, drops something, and is the same each time it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from benchmarks.models import MODELS, Model, find
from tests.conftest import framework

DROPS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
CANCELLED = {
    "vgg16-bn",
    "enet",
    "unet",
    "unet-spatial",
    "basic-unet",
    "basic-unet-spatial",
    "vnet",
    "vnet-spatial",
}
"""Some convolutions have a bias that the normalisation after them takes away again."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads gain nothing on nets this small, and wait long for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=MODELS, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> Model:
    chosen: Model = request.param
    if "MONAI" in chosen.source:
        framework("monai")
    return chosen


def made(model: Model) -> tuple[nn.Module, tuple[Tensor, ...]]:
    inputs = tuple(x.double() for x in model.inputs(small=True))
    return model.make(small=True).double(), inputs


def outputs(net: nn.Module, inputs: tuple[Tensor, ...], seed: int) -> Tensor:
    torch.manual_seed(seed)
    y: Tensor = net(*inputs)
    return y


def idle(net: nn.Module, inputs: tuple[Tensor, ...]) -> list[str]:
    """Names of parameters whose gradient is missing, not finite, or zero but for rounding."""
    y = outputs(net, inputs, 3)
    (y * torch.randn_like(y)).sum().backward()
    found = []
    for name, parameter in net.named_parameters():
        size = 0.0 if parameter.grad is None else parameter.grad.abs().max().item()
        if parameter.requires_grad and not 1e-9 < size < float("inf"):
            found.append(name)
    return found


def is_random(net: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    return not torch.equal(outputs(net, inputs, 3), outputs(net, inputs, 4))


def convolution_biases(net: nn.Module) -> set[str]:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return {f"{name}.bias" for name, module in net.named_modules() if isinstance(module, kinds)}


def test_every_parameter_has_a_gradient(model: Model) -> None:
    net, inputs = made(model)
    found = set(idle(net, inputs))
    if model.name in CANCELLED:
        assert found
        found -= convolution_biases(net)
    assert not found


def test_it_drops_at_random_in_training_alone(model: Model) -> None:
    net, inputs = made(model)
    assert all(module.training for module in net.modules())
    assert is_random(net, inputs)
    assert torch.equal(outputs(net, inputs, 3), outputs(net, inputs, 3))
    net.eval()
    assert not is_random(net, inputs)


def test_its_rate_is_that_of_most_drop_layers(model: Model) -> None:
    net, _ = made(model)
    rates = Counter(module.p for module in net.modules() if isinstance(module, DROPS))
    assert rates.most_common(1)[0][0] == model.p


def test_weights_and_inputs_are_the_same_whatever_was_seeded(model: Model) -> None:
    torch.manual_seed(5)
    first, (x,) = model.make(small=True), model.inputs(small=True)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)
    second, (y,) = model.make(small=True), model.inputs(small=True)
    assert torch.equal(x, y)
    weights = second.state_dict()
    assert weights
    assert first.state_dict().keys() == weights.keys()
    for name, value in first.state_dict().items():
        assert torch.equal(value, weights[name])


def test_the_batch_can_be_chosen(model: Model) -> None:
    (x,) = model.inputs(5, small=True)
    (full,) = model.inputs()
    assert x.shape == (5, *model.small.shape[1:])
    assert full.shape == model.full.shape
    assert len(model.make(small=True)(x)) == 5


def test_the_checks_see_a_net_that_does_not_drop_or_learn() -> None:
    x = torch.randn(3, 2, 4, 4)
    norm = nn.BatchNorm2d(2).requires_grad_(False)
    net = nn.Sequential(nn.Conv2d(2, 2, 3), norm, nn.Dropout2d(0.0))
    assert not is_random(net, (x,))
    for weight in (0.0, torch.nan):
        nn.init.constant_(norm.weight, weight)
        assert idle(net, (x,)) == ["0.weight", "0.bias"]


def test_networks_are_found_by_name() -> None:
    assert [find(model.name) for model in MODELS] == list(MODELS)
    with pytest.raises(KeyError, match=r"no network 'lenet'; there are chain-"):
        find("lenet")

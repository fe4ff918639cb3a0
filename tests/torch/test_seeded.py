"""A model's masks as a function of one seed: whoever calls, resumed, copied, wrapped."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import mapdrop
from mapdrop.torch import Drop, Dropout, SpatialDropout2d, seeded


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        SpatialDropout2d(0.5),
        nn.Sequential(nn.Conv2d(8, 8, 3), Dropout(0.5), nn.Flatten()),
    )


def forwards(net: nn.Module, count: int) -> list[Tensor]:
    x = torch.linspace(-1, 1, 4 * 3 * 81).reshape(4, 3, 9, 9)
    with torch.no_grad():
        return [net(x) for _ in range(count)]


def steps(net: nn.Module) -> list[int]:
    return [layer.mapdrop_step for layer in net.modules() if isinstance(layer, Drop)]


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
            net(torch.linspace(-1, 1, 4 * 3 * 81).reshape(4, 3, 9, 9)).square().mean().backward()
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
    assert steps(net) == [1, 1]
    assert equal(first + forwards(net, 1), forwards(seeded(model(), 7), 2))


def in_training(net: nn.Module) -> nn.Module:
    return net.train()


def with_its_drops_in_training(net: nn.Module) -> nn.Module:
    """Monte-Carlo sampling; or a frozen trunk whose head is trained."""
    net.eval()
    for layer in net.modules():
        layer.train(isinstance(layer, Drop))
    return net


class Holder(nn.Module):
    """Calls its parts from a method that is not forward, as a LightningModule does."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.net = net

    def training_step(self, x: Tensor) -> Tensor:
        for part in self.net:
            x = part(x)
        return x


CALLS: dict[str, Callable[[nn.Sequential, Tensor], Tensor]] = {
    "model": lambda net, x: net(x),
    "forward": lambda net, x: net.forward(x),
    "parts": lambda net, x: net[2](net[1](net[0](x))),
    "method": lambda net, x: Holder(net).training_step(x),
    "inside another": lambda net, x: nn.Sequential(nn.Identity(), net)(x),
}


@pytest.mark.parametrize("mode", [in_training, with_its_drops_in_training])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "compiled",
    [
        pytest.param(False, id="eager"),
        pytest.param(True, id="compiled", marks=pytest.mark.compiler),
    ],
)
def test_the_step_does_not_depend_on_who_calls(
    mode: Callable[[nn.Module], nn.Module],
    call: Callable[[nn.Sequential, Tensor], Tensor],
    compiled: bool,
) -> None:
    torch._dynamo.reset()
    net, x = mode(seeded(model(), 7)), torch.ones(4, 3, 9, 9)
    if compiled:
        for part in net.children():
            part.compile(backend="aot_eager")
    ordinary = seeded(model(), 7)
    with torch.no_grad():  # PyTorch's compiler warns of inputs that are no leaves.
        for _ in range(4):
            wanted = ordinary(x)
            torch.testing.assert_close(call(net, x), wanted)  # type: ignore[arg-type]
        samples = torch.stack([call(net, x) for _ in range(20)])  # type: ignore[arg-type]
    assert samples.var(0).mean() > 0.1
    assert steps(net) == [24, 24]


def test_a_layer_that_is_called_twice_drops_anew() -> None:
    layer = Dropout(0.5)
    net = seeded(nn.Sequential(layer, nn.ReLU(), layer), 1)
    x = torch.ones(64)
    masks = [
        mapdrop.mask("... -> ...", (64,), 0.5, seed=1, stream="0", step=n) for n in range(1, 5)
    ]
    assert torch.equal(net(x), masks[1].apply(masks[0].apply(x)))
    assert torch.equal(net(x), masks[3].apply(masks[2].apply(x)))


def test_a_rate_of_zero_draws_nothing() -> None:
    net, x = seeded(nn.Sequential(Dropout(0.0)), 1), torch.ones(64)
    before = torch.get_rng_state()
    assert net(x) is x
    assert torch.equal(torch.get_rng_state(), before)
    net.get_submodule("0").p = 0.5  # type: ignore[assignment]
    assert torch.equal(net(x), seeded(nn.Sequential(Dropout(0.5)), 1)(x))


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda part: pickle.loads(pickle.dumps(part)),
}


@pytest.mark.parametrize("made", COPIES.values(), ids=COPIES)
def test_copies_go_on_by_themselves(made: Callable[[Any], Any]) -> None:
    net = seeded(model(), 7)
    forwards(net, 1)
    twin = made(net)
    expected = forwards(net, 2)
    assert equal(forwards(twin, 2), expected)
    assert steps(twin) == [3, 3]


@pytest.mark.parametrize("made", [*COPIES.values(), copy.copy], ids=[*COPIES, "copy"])
def test_a_copy_of_a_part_is_whole_and_carries_nothing_else(made: Callable[[Any], Any]) -> None:
    net, x = seeded(model(), 7), torch.ones(4, 8, 7, 7)
    net[1](x)
    part = made(net[1])
    assert len(pickle.dumps(part)) < len(pickle.dumps(SpatialDropout2d(0.5))) + 500
    first, second = part(x), part(x)
    assert not torch.equal(first, second)
    assert torch.equal(net[1](x), first)
    assert torch.equal(net[1](x), second)


def test_seeding_again_starts_again() -> None:
    net = seeded(model(), 7)
    first = forwards(net, 2)
    assert equal(forwards(seeded(net, 7), 2), first)
    assert equal(forwards(seeded(net, 8), 2), forwards(seeded(model(), 8), 2))


class TestStateDicts:
    """Of seeded and unseeded models: each fits the other."""

    def test_a_count_for_each_layer_on_the_cpu(self) -> None:
        net = seeded(model(), 7).to("meta")
        with torch.device("meta"):
            state = net.state_dict()
        counts = {name: value for name, value in state.items() if name.endswith("mapdrop_step")}
        assert list(counts) == ["1.mapdrop_step", "2.1.mapdrop_step"]
        assert all(v.dtype == torch.int64 and v.device.type == "cpu" for v in counts.values())

    def test_a_plain_one_is_loaded_strictly_and_starts_at_0(self) -> None:
        net = seeded(model(), 7)
        first = forwards(net, 3)
        net.load_state_dict(model().state_dict())
        assert equal(forwards(net, 3), first)

    def test_a_plain_model_loads_a_seeded_one_s_strictly(self) -> None:
        net, plain = seeded(model(), 7), model()
        forwards(net, 3)
        plain.load_state_dict(net.state_dict())
        assert list(plain.state_dict()) == list(model().state_dict())

    @pytest.mark.parametrize("assign", [False, True])
    def test_made_on_meta_it_starts_at_0_or_where_the_state_dict_says(self, assign: bool) -> None:
        with torch.device("meta"):
            net = seeded(model(), 7)
        net = net if assign else net.to_empty(device="cpu")
        trained = seeded(model(), 7)
        net.load_state_dict(model().state_dict(), assign=assign)
        assert equal(forwards(net, 2), forwards(trained, 2))
        forwards(trained, 3)
        net.load_state_dict(trained.state_dict(), assign=assign)
        assert equal(forwards(net, 2), forwards(trained, 2))

    def test_a_wrapper_s_prefix_leaves_counts_where_they_belong(self) -> None:
        net, twin = seeded(model(), 7), seeded(model(), 7)
        forwards(net, 2)
        averaged = torch.optim.swa_utils.AveragedModel(twin)
        averaged.load_state_dict(
            {"n_averaged": torch.tensor(0)}
            | {f"module.{name}": value for name, value in net.state_dict().items()}
        )
        assert equal(forwards(averaged, 2), forwards(net, 2))

    @pytest.mark.parametrize("wrong", [torch.tensor(-1), torch.ones(2), "many"])
    def test_a_count_that_is_none_is_told(self, wrong: object) -> None:
        net = seeded(model(), 7)
        with pytest.raises(RuntimeError, match=r"1\.mapdrop_step is the number of a layer's calls"):
            net.load_state_dict(model().state_dict() | {"1.mapdrop_step": wrong})


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "data parallel": nn.DataParallel,
    "checkpoint": checkpoint_wrapper,
    "average": torch.optim.swa_utils.AveragedModel,
    "several": lambda net: nn.DataParallel(checkpoint_wrapper(net)),
}


@pytest.mark.compiler
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_leave_the_names_as_they_are(wrap: Callable[[nn.Module], nn.Module]) -> None:
    torch._dynamo.reset()
    plain = forwards(seeded(model(), 7), 3)
    assert equal(forwards(seeded(wrap(model()), 7), 3), plain)
    assert equal(forwards(wrap(seeded(model(), 7)), 3), plain)
    net = model()
    net[2] = wrap(net[2])
    assert equal(forwards(seeded(net, 7), 3), plain)


def test_only_the_wrapper_s_own_part_of_a_name_is_left_out() -> None:
    net = nn.Module()
    net.module = Dropout(0.5)
    seeded(net, 1)
    x = torch.ones(64)
    mask = mapdrop.mask("... -> ...", (64,), 0.5, seed=1, stream="module", step=1)
    assert torch.equal(net.module(x), mask.apply(x))


def test_copies_that_run_in_threads_are_refused() -> None:
    net = seeded(model(), 7)
    with pytest.raises(RuntimeError, match="use DistributedDataParallel"):
        net[1]._replicate_for_data_parallel()
    net.eval()
    assert net[1]._replicate_for_data_parallel() is not net[1]


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, None, "7"])
def test_a_wrong_seed_is_refused(seed: object) -> None:
    net = model()
    with pytest.raises((TypeError, ValueError), match="seed is a whole number from 0"):
        seeded(net, seed)  # type: ignore[arg-type]
    assert list(net.state_dict()) == list(model().state_dict())

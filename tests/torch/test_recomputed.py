"""What is recomputed drops by the mask of its own forward, however many came between."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import mapdrop
from mapdrop.backends.torch.source import REMEMBERED
from mapdrop.torch import (
    DropBlock2d,
    Dropout,
    DropPath,
    SpatialDropout2d,
    compact,
    replay,
    seeded,
    shard,
)
from tests.torch.compact.agreement import ALWAYS, skips

Keeper = Callable[[nn.Module, Tensor], Tensor]


class Reversed(torch.autograd.Function):
    """Keeps only the input and the generator's state, as reversible networks do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, part: nn.Module, *weights: Tensor) -> Tensor:
        ctx.state, ctx.part, ctx.weights = torch.get_rng_state(), part, weights
        ctx.save_for_backward(x)
        with torch.no_grad():
            return part(x)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad(), torch.random.fork_rng([]):
            torch.set_rng_state(ctx.state)
            y = ctx.part(x)
        gradients = torch.autograd.grad(y, (x, *ctx.weights), grad)
        return gradients[0], None, *gradients[1:]


def nested(part: nn.Module, x: Tensor) -> Tensor:
    inner = lambda x: checkpoint(part, x, use_reentrant=False)  # noqa: E731
    return checkpoint(inner, x, use_reentrant=False)  # type: ignore[no-any-return]


KEEPERS: dict[str, Keeper] = {
    "non-reentrant": lambda part, x: checkpoint(part, x, use_reentrant=False),
    "reentrant": lambda part, x: checkpoint(part, x, use_reentrant=True),
    "nested": nested,
    "reversible": lambda part, x: Reversed.apply(x, part, *part.parameters()),  # type: ignore[no-untyped-call]
}


class Net(nn.Module):
    """Two blocks with drops of every kind, each recomputed as `keep` says."""

    def __init__(self, keep: Keeper | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(4, 4, 3, padding=1), SpatialDropout2d(0.4), nn.Tanh(),
                DropBlock2d(0.3, 3), nn.Conv2d(4, 4, 1), Dropout(0.3), DropPath(0.3),
            )
            for _ in range(2)
        )  # fmt: skip
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x) if self.keep is None else self.keep(block, x)
        return x


def as_they_are(keep: Keeper | None) -> Net:
    return seeded(Net(keep), 7)


@lru_cache(maxsize=1)  # All trainings use the same graphs.
def with_compiled_blocks(keep: Keeper | None) -> Net:
    torch._dynamo.reset()
    net = as_they_are(keep)
    for block in net.blocks:
        block.compile(backend="aot_eager")
    return net


def compiled(keep: Keeper | None) -> Net:
    net = with_compiled_blocks(keep)
    net.load_state_dict(as_they_are(keep).state_dict())
    net.zero_grad()
    return net


def BLOCKS(test: Any) -> Any:  # noqa: N802 - used like a mark
    """Its blocks eager and compiled. PyTorch's compiler asks tensors for .grad that have none."""
    test = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")(test)
    blocks = [as_they_are, pytest.param(compiled, marks=pytest.mark.compiler)]
    return pytest.mark.parametrize("made", blocks)(test)


def views() -> list[Tensor]:
    own = torch.Generator().manual_seed(1)
    return [torch.randn(5, 4, 6, 6, generator=own).requires_grad_() for _ in range(3)]


def contrasted(net: nn.Module) -> None:
    """Two forwards, one backward."""
    one, other, _ = views()
    (net(one) - net(other)).square().mean().backward()


def distilled(net: nn.Module) -> None:
    """Against the same network's own output, without gradients, in training mode."""
    one, other, _ = views()
    y = net(one)
    with torch.no_grad():
        wanted = net(other)
    (y * wanted).mean().backward()


def accumulated(net: nn.Module) -> None:
    """All forwards before the first backward, which are in another order."""
    losses = [net(x).square().mean() for x in views()]
    for at in (1, 2, 0):
        losses[at].backward()


def penalised(net: nn.Module) -> None:
    """A loss of the gradient, which is itself recomputed from."""
    one, other, _ = views()
    y = net(one).square().sum()
    net(other)
    (slope,) = torch.autograd.grad(y, one, create_graph=True)
    slope.square().mean().backward()


TRAINING: dict[str, Callable[[nn.Module], None]] = {
    "two forwards": contrasted,
    "own output": distilled,
    "accumulated": accumulated,
}


def gradients(net: Any, train: Callable[[nn.Module], None]) -> list[Tensor]:
    """Of every weight; and what the next random number is."""
    torch.manual_seed(1)
    train(net)
    found = [weight.grad for weight in net.parameters()]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in found)
    return [*found, torch.rand(1)]


@pytest.mark.parametrize("train", TRAINING.values(), ids=TRAINING)
@pytest.mark.parametrize("keep", KEEPERS.values(), ids=KEEPERS)
@BLOCKS
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # Under no_grad.
def test_recomputed_masks_are_those_of_their_forward(
    train: Callable[[nn.Module], None], keep: Keeper, made: Callable[[Keeper | None], Net]
) -> None:
    plain, net = as_they_are(None), made(keep)
    for got, wanted in zip(gradients(net, train), gradients(plain, train), strict=True):
        torch.testing.assert_close(got, wanted)


def test_a_gradient_of_a_gradient() -> None:
    keep = KEEPERS["non-reentrant"]
    plain, net = seeded(Net(None), 7), seeded(Net(keep), 7)
    for got, wanted in zip(gradients(net, penalised), gradients(plain, penalised), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.compiler
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_checkpoints_inside_one_compiled_graph(backend: str) -> None:
    torch._dynamo.reset()
    plain, net = seeded(Net(None), 7), seeded(Net(KEEPERS["non-reentrant"]), 7)
    run = torch.compile(net, backend=backend, fullgraph=True)
    for got, wanted in zip(gradients(run, contrasted), gradients(plain, contrasted), strict=True):
        torch.testing.assert_close(got, wanted)


def test_the_comparison_sees_the_mask_of_another_forward() -> None:
    def swapped(net: nn.Module) -> None:
        one, other, _ = views()
        y = net(other)
        (net(one) - y).square().mean().backward()

    one, other = (gradients(seeded(Net(None), 7), train)[:-1] for train in (contrasted, swapped))
    assert not any(torch.allclose(a, b, rtol=1e-2) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("reentrant", [False, True])
def test_unseeded_layers_need_the_state_too(reentrant: bool) -> None:
    """The guard of the promise: with the state restored the masks are right, without it wrong."""
    layer, found = Dropout(0.5), []
    for kept in (True, False):
        x = torch.ones(64, requires_grad=True)
        y: Any = checkpoint(
            lambda x: layer(x).square(), x, use_reentrant=reentrant, preserve_rng_state=kept
        )
        y.sum().backward()
        assert x.grad is not None
        found.append(torch.equal(x.grad, 2 * y.detach()))
    assert found == [True, False]


@pytest.mark.parametrize(
    "layer", [Dropout(0.5), seeded(Dropout(0.5), 7)], ids=["unseeded", "seeded"]
)
def test_what_saves_no_tensor_is_not_recomputed(layer: Dropout) -> None:
    """A lone drop keeps its seed, so it needs no state of the generator."""
    x = torch.ones(64, requires_grad=True)
    y: Any = checkpoint(layer, x, use_reentrant=False, preserve_rng_state=False)
    torch.manual_seed(99)
    layer(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    assert 0 < (y == 0).sum() < 64


class TestErrors:
    """A recomputation that does not say which call it is."""

    @pytest.mark.parametrize("reentrant", [False, True])
    @BLOCKS
    def test_a_checkpoint_that_does_not_keep_the_state(
        self, reentrant: bool, made: Callable[[Keeper | None], Net]
    ) -> None:
        net = made(lambda part, x: self.forgetful(part, x, reentrant))
        with pytest.raises(RuntimeError, match="keep preserve_rng_state=True"):
            contrasted(net)

    @staticmethod
    def forgetful(part: nn.Module, x: Tensor, reentrant: bool) -> Tensor:
        return checkpoint(part, x, use_reentrant=reentrant, preserve_rng_state=False)  # type: ignore[no-any-return]

    def test_a_generator_that_is_set_before_each_forward(self) -> None:
        net = seeded(Net(KEEPERS["non-reentrant"]), 7)
        with pytest.raises(RuntimeError, match=r"the same in 2 of its calls.*do not set"):
            contrasted(Seeding(net))

    def test_a_call_that_is_long_ago(self) -> None:
        layer = seeded(nn.Sequential(Dropout(0.5), nn.Tanh()), 7)
        x = torch.ones(2, requires_grad=True)
        early, late = (KEEPERS["non-reentrant"](layer, x) for _ in range(2))
        for _ in range(REMEMBERED - 1):
            layer(x)
        late.sum().backward()
        with pytest.raises(RuntimeError, match="none of its last 4096 calls"):
            early.sum().backward()

    def test_a_state_dict_loaded_between(self) -> None:
        net = seeded(Net(KEEPERS["non-reentrant"]), 7)
        y = net(views()[0])
        net.load_state_dict(copy.deepcopy(net.state_dict()))
        with pytest.raises(RuntimeError, match="none of its last"):
            y.sum().backward()

    @pytest.mark.parametrize("reentrant", [False, True])
    def test_backward_outside_the_shard(self, reentrant: bool) -> None:
        layer = seeded(nn.Sequential(Dropout(0.5), nn.Tanh()), 7)
        x = torch.ones(8, requires_grad=True)
        with shard(0, 1, 2):
            y: Any = checkpoint(layer, x, use_reentrant=reentrant)
        with pytest.raises(RuntimeError, match="call backward inside the same"):
            y.sum().backward()


class Seeding(nn.Module):
    """Sets PyTorch's generator before each forward."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return self.net(x)  # type: ignore[no-any-return]


def test_a_generator_that_is_set_repeats_no_mask() -> None:
    net, x = Seeding(seeded(nn.Sequential(Dropout(0.5)), 7)), torch.ones(64)
    for step in (1, 2, 3):
        mask = mapdrop.mask("... -> ...", (64,), 0.5, seed=7, stream="0", step=step)
        assert torch.equal(net(x), mask.apply(x))


# --- Forwards that are run again on purpose.


@BLOCKS
def test_gradients_by_chunks_are_those_of_the_whole(
    made: Callable[[Keeper | None], Net],
) -> None:
    """GradCache: outputs of all chunks first, without gradients; then each chunk again, with."""
    plain, net = as_they_are(None), made(None)
    outputs = [plain(x) for x in views()]
    torch.stack(outputs).std(0).sum().backward()

    states, cached = [], []
    for x in views():
        states.append(torch.get_rng_state())
        with torch.no_grad():
            cached.append(net(x).requires_grad_())
    torch.stack(cached).std(0).sum().backward()
    for x, state, first in zip(views(), states, cached, strict=True):
        torch.set_rng_state(state)
        with replay():
            again = net(x)
        assert torch.equal(again, first)
        again.backward(first.grad)
    for got, wanted in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(got.grad, wanted.grad)
    torch.testing.assert_close(net(views()[0]), plain(views()[0]))  # Both are at step 4.


@pytest.mark.parametrize("within", [replay, nullcontext], ids=["replay", "nothing"])
def test_only_the_context_repeats_a_mask(
    within: Callable[[], AbstractContextManager[None]],
) -> None:
    layer, x = seeded(Dropout(0.5), 7), torch.ones(64)
    state = torch.get_rng_state()
    first = layer(x)
    torch.set_rng_state(state)
    with within():
        again = layer(x)
    assert torch.equal(again, first) == (within is replay)
    assert layer.mapdrop_step == (1 if within is replay else 2)


def test_what_was_never_called_cannot_be_repeated() -> None:
    layer = seeded(Dropout(0.5), 7)
    with pytest.raises(RuntimeError, match=r"restore it before the recomputation"), replay():
        layer(torch.ones(4))
    assert layer.mapdrop_step == 0


def skipping() -> nn.Module:
    torch.manual_seed(0)
    parts = nn.Conv2d(4, 32, 3), SpatialDropout2d(0.5), nn.Conv2d(32, 4, 3)
    return seeded(nn.Sequential(*parts), 7)


def test_compact_models_are_replayed_too() -> None:
    plain, fast, (x, *_) = skipping(), compact(skipping(), ALWAYS), views()
    state = torch.get_rng_state()
    wanted = plain(x)
    for within in (nullcontext, replay):
        torch.set_rng_state(state)
        with within():
            torch.testing.assert_close(fast(x), wanted)
    assert skips(fast)


@pytest.mark.parametrize("keep", KEEPERS.values(), ids=KEEPERS)
def test_compact_models_are_recomputed_too(keep: Keeper) -> None:
    plain, fast = skipping(), compact(skipping(), ALWAYS)
    found = []
    for net, call in ((plain, plain), (fast, lambda x: keep(fast, x))):
        one, other, _ = views()
        (call(one) - call(other)).square().mean().backward()
        found.append([weight.grad for weight in net.parameters()])
    torch.testing.assert_close(*found)
    assert skips(fast)

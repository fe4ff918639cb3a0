"""Models that run branches for the kept samples are used as others: copied, saved, cast."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mapdrop.torch import Drop, DropPath, compact, seeded, shard
from tests.torch.compact.agreement import ALWAYS, check, pixels
from tests.torch.compact.residual_drops import DROPS
from tests.torch.compact.residual_models import FAMILIES
from tests.torch.compact.residual_work import branches, flops, seed_that_keeps, work
from tests.torch.compact.training_step import check_close, check_same, check_step, step

pytestmark = pytest.mark.training

SOME = pytest.mark.parametrize("family", ["vit", "swin", "convnext", "dit"])


def made(family: str, drop: str = "timm") -> Any:
    return FAMILIES[family].make(DROPS[drop])


def inputs(family: str, samples: int = 6) -> list[Tensor]:
    return FAMILIES[family].inputs(samples)


def skips(fast: nn.Module) -> bool:
    """Return whether each branch was skipped in the last call."""
    return all(line.operations > 0 for line in branches(fast))


@SOME
def test_no_grad(family: str) -> None:
    net, x = made(family), inputs(family)
    fast = compact(net, ALWAYS)
    for seed in range(2):
        with torch.no_grad():
            torch.manual_seed(seed)
            expected, state = net(*x), torch.get_rng_state()
            torch.manual_seed(seed)
            y = fast(*x)
        assert torch.equal(torch.get_rng_state(), state)
        check_close("output", expected, y)
        assert not y.requires_grad


@SOME
def test_eval_mode_is_the_models_own(family: str) -> None:
    net, x = made(family), inputs(family)
    fast = compact(net, ALWAYS)
    check_step(step(net, x), step(fast, x))
    net.eval()
    state = torch.get_rng_state()
    fast.eval()
    assert torch.equal(fast(*x), net(*x))
    assert torch.equal(torch.get_rng_state(), state)
    fast.train()
    check_step(step(net, x, 1), step(fast, x, 1))
    net.blocks[0].eval()
    check_step(step(net, x, 2), step(fast, x, 2))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("called", [False, True])
def test_copies_skip_too(copied: Callable[[Any], Any], called: bool) -> None:
    x = inputs("vit")
    fast = compact(made("vit"), ALWAYS)
    if called:
        fast(*x)
    twin = copied(fast)
    check_step(step(made("vit"), x), step(twin, x))
    with torch.no_grad():
        twin.head[1].weight.zero_()
    check_step(step(made("vit"), x, 1), step(fast, x, 1))
    assert skips(twin)
    assert skips(fast)


def test_state_is_saved_and_loaded() -> None:
    net, x = made("swin"), inputs("swin")
    fast = compact(made("swin"), ALWAYS)
    assert list(fast.state_dict()) == list(net.state_dict())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)
    step(fast, x)
    fast.load_state_dict(pickle.loads(pickle.dumps(net.state_dict())))
    check_step(step(net, x), step(fast, x))
    assert skips(fast)


@SOME
def test_autocast(family: str) -> None:
    net = made(family).float()
    fast = compact(net, ALWAYS)
    x = [v.float() if v.is_floating_point() else v for v in inputs(family)]
    found = []
    for one in (net, fast):
        torch.manual_seed(0)
        net.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            y = one(*x)
        y.float().square().mean().backward()
        found.append([y, *(p.grad for p in one.parameters())])
    for expected, got in zip(*found, strict=True):
        assert expected.dtype == got.dtype
        size = expected.float().abs().max()
        assert (expected.float() - got.float()).abs().max() <= 0.05 * size
    assert skips(fast)


@SOME
def test_gradients_add_up_over_small_batches(family: str) -> None:
    net, x = made(family), inputs(family)
    fast, other = compact(net, ALWAYS), made(family)
    for one in (fast, other):
        torch.manual_seed(0)
        for part in zip(*(v.chunk(3) for v in x), strict=True):
            one(*part).sin().sum().backward()
    for (name, p), q in zip(other.named_parameters(), fast.parameters(), strict=True):
        check_close(name, p.grad, q.grad)
    assert skips(fast)


class Checkpointed(nn.Module):
    """A model whose activations are computed again in backward."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *x: Tensor) -> Any:
        return checkpoint(self.inner, *x, use_reentrant=False)


@SOME
def test_checkpointing_draws_the_same_samples_again(family: str) -> None:
    fast, x = Checkpointed(compact(made(family), ALWAYS)), inputs(family)
    for seed in range(3):
        check_step(step(Checkpointed(made(family)), x, seed), step(fast, x, seed))
    assert skips(fast.inner)


class CheckpointedBlocks(nn.Module):
    """A model that computes the activations of each block again in backward."""

    def __init__(self, inner: Any, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x: Tensor) -> Any:
        x = self.inner.stem(x)
        for block in self.inner.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.inner.head(x)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize(
    ("family", "drop"), [("vit", "timm"), ("vit", "balance"), ("swin", "timm")]
)
def test_checkpointed_blocks_skip(family: str, drop: str, reentrant: bool) -> None:
    net, (x,) = CheckpointedBlocks(made(family, drop), reentrant), inputs(family)
    fast = compact(copy.deepcopy(net), ALWAYS)
    for seed in range(3):
        check(net, fast, (x,), seed)
    assert skips(fast)
    assert len(branches(fast)) == FAMILIES[family].drops


class WithConstant(nn.Module):
    """A block with a part that has no gradients."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.scale, self.branch, self.drop = nn.Linear(4, 4), nn.Linear(4, 4), DropPath(0.5)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            scale = self.scale(x).tanh()
        y: Tensor = x * scale + self.drop(self.branch(x))
        return y


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_part_without_gradients_has_none(reentrant: bool) -> None:
    net = nn.Module()
    net.stem, net.blocks, net.head = nn.Linear(4, 4), nn.ModuleList([WithConstant()]), nn.Identity()
    model = CheckpointedBlocks(net, reentrant).double()
    fast = compact(copy.deepcopy(model), ALWAYS)
    for seed in range(3):
        check(model, fast, (pixels(6, 4),), seed)
    assert skips(fast)
    assert model.inner.blocks[0].scale.weight.grad is None


def test_checkpointed_blocks_compute_less_and_keep_less() -> None:
    """The forward runs twice, and what it makes inside a block is not kept for backward."""
    net, x = CheckpointedBlocks(made("vit"), False), inputs("vit")
    fast = compact(net, ALWAYS)
    seed = seed_that_keeps(3, net.inner, x)
    whole, found = flops(net, x, seed), work(fast, x, seed)
    once, skipping = flops(net.inner, x, seed), work(compact(net.inner, ALWAYS), x, seed)
    assert skipping < once < whole
    assert skipping < found < whole
    kept: dict[str, int] = {}
    for name, one in (("blocks", fast), ("whole", compact(net.inner, ALWAYS))):
        step(one, x, seed)
        kept[name] = saved(one, x, seed)
    assert kept["blocks"] < kept["whole"] / 2


def saved(net: nn.Module, x: list[Tensor], seed: int) -> int:
    """Return how many values a forward keeps for backward."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(0 if isinstance(tensor, nn.Parameter) else tensor.numel())
        return tensor

    torch.manual_seed(seed)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(*x)
    return sum(sizes)


@pytest.mark.parametrize("drop", ["drop-path", "balance", "groups", "batch"])
def test_seeded(drop: str) -> None:
    net, x = seeded(made("vit", drop), 5), inputs("vit")
    fast = compact(seeded(made("vit", drop), 5), ALWAYS)
    for seed in range(3):
        check_step(step(net, x, seed), step(fast, x, seed))
    assert list(fast.state_dict()) == list(net.state_dict())
    assert skips(fast)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(
    "drop", ["drop-path", "balance", "exact", "groups", "batch", "scale-batch"]
)
def test_shard(drop: str, strided: bool) -> None:
    net, x = seeded(made("vit", drop), 5), inputs("vit", 4)
    fast = compact(seeded(made("vit", drop), 5), ALWAYS)
    found = []
    for rank in range(3):
        with shard(0, rank, 3, strided=strided):
            want = step(net, x)
            check_step(want, step(fast, x))
        found.append(want.outputs["output"])
        assert skips(fast)
    assert drop == "batch" or not torch.equal(found[0], found[1])


def test_two_trainings_end_the_same() -> None:
    (x,) = inputs("vit")
    ends = []
    for net in (made("vit"), compact(made("vit"), ALWAYS)):
        torch.manual_seed(0)
        optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
        for _ in range(30):
            optimiser.zero_grad()
            net(x).square().mean().backward()
            optimiser.step()
        ends.append({name: p.detach() for name, p in net.named_parameters()})
    for name, value in ends[0].items():
        check_close(name, value, ends[1][name], 1e-7)  # Adam divides by small gradients.


class LengthFirst(nn.Module):
    """A residual block of (n, b, c), whose samples are along the second axis."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.drop = Drop("n b c -> b", 0.5)

    def forward(self, x: Tensor) -> Any:
        return x + self.drop(self.down(torch.tanh(self.up(x))))


def test_samples_along_another_axis() -> None:
    check_same(lambda: LengthFirst().double(), [pixels(7, 5, 8)], seeds=range(3))

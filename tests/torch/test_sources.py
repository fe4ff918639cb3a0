"""Seeded layers under torch.compile, under torch.func, and in threads."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

import mapdrop
from mapdrop.torch import Drop, Dropout, SpatialDropout2d, seeded, shard

WIDTH = 64


def mask(step: int, stream: str = "1", seed: int = 7, rows: int = 1) -> Tensor:
    """What a row's kept values are multiplied by."""
    made = mapdrop.mask("... -> ...", (rows, WIDTH), 0.5, seed=seed, stream=stream, step=step)
    return made.apply(torch.ones(rows, WIDTH))


def net(seed: int = 7) -> nn.Sequential:
    return seeded(nn.Sequential(nn.Identity(), Dropout(0.5)), seed)


# --- torch.compile


class Deep(nn.Module):
    """Blocks that are alike, and a layer that is called twice."""

    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), SpatialDropout2d(0.5), Dropout(0.3))
            for _ in range(blocks)
        )
        self.last = Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.last(self.last(x) + 1)  # type: ignore[no-any-return]


X = torch.randn(4, 4, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.compiler
@pytest.mark.parametrize("dynamic", [None, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_ten_steps_are_those_of_eager_and_one_compilation(
    backend: str, dynamic: bool | None
) -> None:
    torch._dynamo.reset()
    eager, model = seeded(Deep(), 7), seeded(Deep(), 7)
    run = torch.compile(model, backend=backend, fullgraph=True, dynamic=dynamic)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(10):
            torch.manual_seed(5)  # The number is the same each time, the step is not.
            wanted = eager(X)
            after = torch.get_rng_state()
            torch.manual_seed(5)
            got = run(X)
            torch.testing.assert_close(got, wanted)
            assert torch.equal(torch.get_rng_state(), after)
            got.square().mean().backward()
            wanted.square().mean().backward()
    for one, other in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert [layer.mapdrop_step for layer in model.modules() if isinstance(layer, Drop)] == [
        *[10] * 4, 20
    ]  # fmt: skip


@pytest.mark.compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # Asked by the compiler.
def test_blocks_that_are_alike_share_a_compilation() -> None:
    torch._dynamo.reset()
    eager, model = seeded(Deep(12), 7), seeded(Deep(12), 7)
    for block in model.blocks:
        block.compile(backend="aot_eager", fullgraph=True)
    torch._dynamo.utils.counters.clear()
    for _ in range(3):
        torch.testing.assert_close(model(X), eager(X))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2


@pytest.mark.compiler
def test_a_model_that_is_seeded_again_is_not_compiled_again() -> None:
    torch._dynamo.reset()
    eager, model = seeded(Deep(), 7), seeded(Deep(), 7)
    run = torch.compile(model, backend="aot_eager", fullgraph=True)
    run(X)
    with torch._dynamo.config.patch(error_on_recompile=True):
        seeded(model, 8)
        torch.testing.assert_close(run(X), seeded(eager, 8)(X))
        model.load_state_dict(seeded(Deep(), 7).state_dict())
        torch.testing.assert_close(run(X), seeded(eager, 8)(X))


@pytest.mark.compiler
def test_an_exported_model_counts_with_its_own() -> None:
    model, eager = net(), net()
    program = torch.export.export(model, (torch.ones(3, WIDTH),))
    assert model[1].mapdrop_step == 0
    for _ in range(3):
        assert torch.equal(program.module()(torch.ones(3, WIDTH)), eager(torch.ones(3, WIDTH)))


def test_a_graph_whose_layer_is_not_here_says_so() -> None:
    with pytest.raises(RuntimeError, match="the seeded layer that this graph was made of is no"):
        torch.ops.mapdrop.call_words(torch.tensor([3]), torch.tensor(5))


def test_a_cuda_graph_that_would_repeat_a_mask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="a CUDA graph would repeat one mask"):
        model(torch.ones(1, WIDTH))
    assert model[1].mapdrop_step == 0


# --- torch.func


def test_vmap_different_takes_a_step_for_each_example() -> None:
    model = net()
    y = vmap(model, randomness="different")(torch.ones(6, 1, WIDTH))
    assert torch.equal(y, torch.stack([mask(step) for step in range(1, 7)]))
    y = vmap(vmap(model, randomness="different"), randomness="different")(
        torch.ones(2, 3, 1, WIDTH)
    )
    steps = [mask(step) for step in range(7, 13)]
    assert torch.equal(y.transpose(0, 1).flatten(0, 1), torch.stack(steps))  # The inner one first.


def test_vmap_same_takes_one_step_for_all() -> None:
    model = net()
    for step in (1, 2):
        y = vmap(model, randomness="same")(torch.ones(6, 1, WIDTH))
        assert torch.equal(y, mask(step).expand(6, 1, WIDTH))


def test_vmap_asks_how_random_it_may_be() -> None:
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(net())(torch.ones(6, 1, WIDTH))


def test_gradients_of_each_sample_are_of_its_own_mask() -> None:
    model = net()

    def loss(weight: Tensor, x: Tensor) -> Tensor:
        return model(weight * x).sum()  # type: ignore[no-any-return]

    found = vmap(grad(loss), in_dims=(None, 0), randomness="different")(
        torch.ones(1, WIDTH), torch.ones(5, 1, WIDTH)
    )
    assert torch.equal(found, torch.stack([mask(step) for step in range(1, 6)]))


def test_forward_mode_takes_one_step() -> None:
    model = net()
    for step in (1, 2):
        y, moved = jvp(model, (torch.ones(1, WIDTH),), (torch.full((1, WIDTH), 3.0),))[:2]
        assert torch.equal(y, mask(step))
        assert torch.equal(moved, 3 * mask(step))


class TestEnsembles:
    """Of models that were seeded by themselves, as one."""

    @staticmethod
    def run(base: nn.Module) -> Tensor:
        members = [seeded(nn.Sequential(nn.Linear(WIDTH, WIDTH), Dropout(0.5)), s) for s in (1, 2)]
        stacked = stack_module_state(members)

        def one(state: Any, x: Tensor) -> Tensor:
            return functional_call(base, state, (x,))  # type: ignore[no-any-return]

        run = vmap(one, in_dims=(0, None), randomness="different")
        return run(stacked, torch.ones(3, WIDTH))

    @staticmethod
    def base() -> nn.Sequential:
        return seeded(nn.Sequential(nn.Linear(WIDTH, WIDTH), Dropout(0.5)), 1)

    def test_a_member_moved_to_meta_does_not_lend_its_seed_to_all(self) -> None:
        with pytest.raises(RuntimeError, match=r"stack_module_state.*seed the base anew"):
            self.run(copy.deepcopy(self.base()).to("meta"))

    def test_a_base_with_a_seed_of_its_own_gives_each_member_a_step(self) -> None:
        y = self.run(seeded(self.base().to("meta"), 5))
        for step, member in enumerate(y, start=1):
            assert torch.equal(member == 0, mask(step, seed=5, rows=3) == 0)

    @pytest.mark.parametrize("back", ["to_empty", "assign"])
    def test_a_model_that_comes_back_from_meta_is_itself(self, back: str) -> None:
        model = self.base().to("meta")
        if back == "to_empty":
            model.to_empty(device="cpu")
        model.load_state_dict(self.base().state_dict(), assign=back == "assign")
        assert torch.equal(model(torch.ones(3, WIDTH)) == 0, mask(1, seed=1, rows=3) == 0)


# --- Threads


def together(works: list[Callable[[], Any]]) -> list[Any]:
    """The results of works that run at once, all begun before any ends."""
    ready = threading.Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        ready.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))


@pytest.mark.parametrize("form", ["eager", pytest.param("compiled", marks=pytest.mark.compiler)])
def test_a_thread_has_its_own_shards(form: str) -> None:
    torch._dynamo.reset()

    def drop(x: Tensor) -> Tensor:
        return mapdrop.drop(x, "b c -> b c", 0.5, seed=3, stream="1", step=1)

    run = torch.compile(drop, backend="aot_eager", fullgraph=True) if form == "compiled" else drop
    whole = mask(1, seed=3, rows=8)
    for rank in range(4):  # Compiled for each part before threads meet.
        with shard(0, rank, 4):
            run(torch.ones(2, WIDTH))

    def part(rank: int) -> list[bool]:
        found = []
        for _ in range(100):
            with shard(0, rank, 4):
                found.append(torch.equal(run(torch.ones(2, WIDTH)), whole[2 * rank : 2 * rank + 2]))
        return found

    found = together([lambda rank=rank: part(rank) for rank in range(4)])  # type: ignore[misc]
    assert [sum(one) for one in found] == [100] * 4


def test_a_thread_that_was_told_nothing_has_whole_tensors() -> None:
    with shard(0, 1, 2):
        (y,) = together([lambda: mapdrop.drop(torch.ones(1, WIDTH), "b c -> b c", 0.5, seed=3)])
    assert torch.equal(y, mapdrop.drop(torch.ones(1, WIDTH), "b c -> b c", 0.5, seed=3))


class Deeper(torch.autograd.Function):
    """Whose backward runs another backward, so deep that PyTorch takes threads of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, depth: int, inner: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.depth, ctx.inner = depth, inner
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        with torch.enable_grad():
            x = torch.ones_like(gradient, requires_grad=True)
            y = Deeper.apply(x, ctx.depth - 1, ctx.inner) if ctx.depth else ctx.inner(x)  # type: ignore[no-untyped-call]
            y.sum().backward()
        assert x.grad is not None
        return x.grad, None, None


def test_backward_s_own_threads_see_the_shards_of_who_called_it() -> None:
    seen = []

    def inner(x: Tensor) -> Tensor:
        seen.append(threading.get_ident())
        return mapdrop.drop(x, "b c -> b c", 0.5, seed=3, stream="1", step=1)

    x = torch.ones(2, WIDTH, requires_grad=True)
    with shard(0, 1, 4):
        Deeper.apply(x, 100, inner).sum().backward()  # type: ignore[no-untyped-call]
    assert seen[0] != threading.get_ident()
    assert x.grad is not None
    assert torch.equal(x.grad, mask(1, seed=3, rows=8)[2:4])


def test_threads_that_share_a_layer_have_each_step_once() -> None:
    model = net()

    def some() -> list[Tensor]:
        return [model(torch.ones(1, WIDTH)) for _ in range(200)]

    found = [y for one in together([some] * 4) for y in one]
    wanted = {tuple(mask(step).flatten().tolist()) for step in range(1, 801)}
    assert {tuple(y.flatten().tolist()) for y in found} == wanted
    assert len(wanted) == 800

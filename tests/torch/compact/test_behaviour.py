"""Compact models can be copied, saved, checkpointed, cast and hooked like others."""

from __future__ import annotations

import copy
import pickle
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from mapdrop.torch import Drop, Dropout, SpatialDropout2d, compact, seeded, shard
from mapdrop.torch.compact import Costs
from tests.torch.compact.agreement import ALWAYS
from tests.torch.compact.training_step import check_close, check_same, check_step, skips, step


class Net(nn.Module):
    """Two drops around plain layers, at module level, so that it can be pickled."""

    def __init__(self, p: float = 0.5, channels: int = 20) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), nn.Dropout2d(p))
        self.second = nn.Sequential(nn.Conv2d(channels, 24, 3), nn.ReLU(), SpatialDropout2d(p))
        self.last = nn.Conv2d(24, 4, 1)

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        y: Tensor = self.last(self.second(self.first(x))) * factor
        return y


def net(p: float = 0.5) -> Net:
    torch.manual_seed(3)
    return Net(p).double()


def images(samples: int = 4) -> Tensor:
    own = torch.Generator().manual_seed(1)
    return torch.randn(samples, 3, 8, 8, generator=own, dtype=torch.float64)


def same(make: Callable[[], nn.Module], x: Tensor | None = None, **options: Any) -> Any:
    """Check that the results are equal and something was skipped."""
    fast = check_same(make, [images() if x is None else x], **options)
    assert skips(fast), str(fast.report())
    return fast


def test_a_compact_model_is_the_model() -> None:
    model = net()
    keys = list(model.state_dict())
    fast = compact(model, ALWAYS)
    assert isinstance(fast, Net)
    assert isinstance(fast, type(model))
    assert type(model) is Net
    assert fast is not model
    assert list(fast.state_dict()) == keys == list(model.state_dict())
    for (name, one), (other, two) in zip(
        fast.named_parameters(), model.named_parameters(), strict=True
    ):
        assert name == other
        assert one is two
    assert fast.first[0] is model.first[0]
    assert str(fast.first) == str(model.first)


@pytest.mark.parametrize("thing", [3, None, torch.ones(2), nn.Conv2d, lambda x: x])
def test_only_modules_are_compacted(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"compact takes a torch\.nn\.Module, not "):
        compact(thing)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.999, 1.0])
def test_any_rate(p: float) -> None:
    same(lambda: net(p), seeds=range(3))


def test_a_rate_of_0_skips_nothing() -> None:
    assert not skips(check_same(lambda: net(0.0), [images()]))


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_any_batch(samples: int) -> None:
    fast = same(net, images(samples))
    check_step(step(net(), [images(3)], 5), step(fast, [images(3)], 5))


def test_samples_that_lose_all_maps_and_samples_that_lose_none() -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        drop = Drop("b c h w -> b", 0.5)
        return nn.Sequential(nn.Conv2d(3, 20, 3), drop, nn.Conv2d(20, 5, 3)).double()

    for seed in range(6):
        same(make, images(3), seeds=(seed,))


def test_eval_mode_is_the_models_own() -> None:
    fast, model = compact(net(), ALWAYS), net()
    fast.eval()
    model.eval()
    before = torch.get_rng_state()
    assert torch.equal(fast(images()), model(images()))
    assert torch.equal(torch.get_rng_state(), before)
    check_step(step(model, [images()]), step(fast, [images()]))


def test_train_and_eval_can_be_switched() -> None:
    fast, model = compact(net(), ALWAYS), net()
    for training in (True, False, True, True, False):
        assert fast.train(training).training == model.train(training).training == training
        check_step(step(model, [images()]), step(fast, [images()]))
    for part in (fast, model):
        part.train()
        part.second[2].eval()
    check_step(step(model, [images()]), step(fast, [images()]))
    for part in (fast, model):
        setattr(part.second[2].train(), "p", 0.9)  # noqa: B010
    check_step(step(model, [images()], 2), step(fast, [images()], 2))
    assert skips(fast)


def test_arguments_are_passed_on() -> None:
    fast, model = compact(net(), ALWAYS), net()
    for seed, factor in enumerate((2.0, 3.0, 2.0)):
        torch.manual_seed(seed)
        expected = model(images(), factor=factor)
        torch.manual_seed(seed)
        check_close("output", expected, fast(x=images(), factor=factor))
    with pytest.raises(TypeError):
        fast(images(), 1.0, 2.0)
    with pytest.raises(RuntimeError):
        fast(images()[:, :2])


def test_functional_call_uses_the_parameters_it_is_given() -> None:
    fast, model = compact(net(), ALWAYS), net()
    fast(images())
    given = {n: (2 * p.detach()).requires_grad_() for n, p in model.named_parameters()}
    found = []
    for one in (model, fast):
        torch.manual_seed(0)
        y = torch.func.functional_call(one, given, (images(),))
        found.append((y, *torch.autograd.grad(y.sin().sum(), list(given.values()))))
    for expected, got in zip(*found, strict=True):
        check_close("functional_call", expected, got)
    check_step(step(model, [images()]), step(fast, [images()]))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("called", [False, True])
def test_copies_are_compact_and_independent(copied: Callable[[Any], Any], called: bool) -> None:
    fast = compact(net(), ALWAYS)
    if called:
        fast(images())
    twin = copied(fast)
    assert isinstance(twin, Net)
    assert twin.last.weight is not fast.last.weight
    check_step(step(net(), [images()]), step(twin, [images()]))
    assert skips(twin)
    with torch.no_grad():
        twin.last.weight.zero_()
    check_step(step(net(), [images()]), step(fast, [images()]))


def test_state_is_saved_and_loaded() -> None:
    fast, other = compact(net(), ALWAYS), compact(Net().double(), ALWAYS)
    other(images())
    other.load_state_dict(pickle.loads(pickle.dumps(fast.state_dict())))
    check_step(step(net(), [images()]), step(other, [images()]))


def test_compact_twice_is_compact_once() -> None:
    fast = same(lambda: compact(net(), ALWAYS))
    assert type(fast).__mro__.count(Net) == 1


def test_autocast() -> None:
    torch.manual_seed(0)
    model = Net(channels=64)
    fast = compact(copy.deepcopy(model), ALWAYS)
    x = images().float()
    found = []
    for one in (model, fast):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            y = one(x)
        y.float().square().mean().backward()
        found.append((y, *(p.grad for p in one.parameters())))
    assert skips(fast)
    for expected, got in zip(*found, strict=True):
        assert expected is not None
        assert got is not None
        assert expected.dtype == got.dtype
        size = expected.float().abs().max()
        assert (expected.float() - got.float()).abs().max() <= 0.03 * size


def test_autocast_where_nothing_is_skipped() -> None:
    """A capture must not leave fake weights in autocast's cache."""
    torch.manual_seed(0)
    model = Net(channels=8)
    fast = compact(copy.deepcopy(model), Costs(least=1.0))
    found = []
    for one in (model, fast):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            y = one(images().float())
        y.float().square().mean().backward()
        found.append((y, *(p.grad for p in one.parameters())))
    assert not skips(fast)
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_channels_last() -> None:
    x = images().to(memory_format=torch.channels_last)
    same(net, x)
    same(
        lambda: net().to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        x,
    )


def test_an_input_that_is_not_contiguous() -> None:
    same(net, images().transpose(2, 3))


def test_single_precision() -> None:
    fast, model = compact(net().float(), ALWAYS), net().float()
    x = images().float()
    torch.manual_seed(0)
    expected = model(x)
    torch.manual_seed(0)
    assert torch.allclose(fast(x), expected, rtol=1e-5, atol=1e-6)


def test_gradients_add_up_over_small_batches() -> None:
    fast, model = compact(net(), ALWAYS), net()
    for one in (fast, model):
        torch.manual_seed(0)
        for part in images(6).chunk(3):
            one(part).sin().sum().backward()
    for (name, p), q in zip(model.named_parameters(), fast.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        check_close(name, p.grad, q.grad)


class Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.inner, x, use_reentrant=False)


def test_activation_checkpointing_around_it() -> None:
    fast = Checkpointed(compact(net(), ALWAYS))
    for seed in range(2):
        check_step(step(Checkpointed(net()), [images()], seed), step(fast, [images()], seed))
        check_step(step(Checkpointed(net()), [images()], seed), step(fast, [images()], seed))
    assert skips(fast.inner)


def test_a_checkpointed_part_that_is_compact() -> None:
    fast, model = net(), net()
    fast.first = Checkpointed(compact(fast.first, ALWAYS))  # type: ignore[assignment]
    model.first = Checkpointed(model.first)  # type: ignore[assignment]
    check_step(step(model, [images()]), step(fast, [images()]))
    check_same(lambda: copy.deepcopy(fast), [images()])


def test_a_checkpointed_part_skips_maps() -> None:
    def make() -> Any:
        model: Any = net()
        model.second = Checkpointed(nn.Sequential(*model.first[1:], *model.second))
        model.first = model.first[:1]
        return model

    fast = same(make)
    (line,) = (line for line in fast.report().lines if line.reads < 1)
    assert line.name.startswith("second.inner")
    assert line.makes < 1


PATTERNS: dict[str, Callable[[], nn.Module]] = {
    "maps": lambda: Drop("b c h w -> b c", 0.5),
    "exact": lambda: Drop("b c h w -> b c", 0.5, exact="c"),
    "shared": lambda: Drop("(m s) c h w -> m c", 0.5, s=2),
    "balanced": lambda: Drop("(m s) c h w -> m c", 0.5, s=2, balance="m"),
    "groups": lambda: Drop("b (g k) h w -> b g", 0.5, k=2),
    "one for the batch": lambda: Drop("b c h w -> c", 0.5),
    "everything": lambda: Drop("b c h w ->", 0.5),
}


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("drop", PATTERNS.values(), ids=PATTERNS)
def test_shard(drop: Callable[[], nn.Module], strided: bool) -> None:
    def make() -> nn.Module:
        model = net()
        model.first[2], model.second[2] = drop(), drop()
        return seeded(model, 5)

    model, fast = make(), compact(make(), ALWAYS)
    for rank in range(3):
        with shard(0, rank, 3, strided=strided):
            check_step(step(model, [images()]), step(fast, [images()]))
        assert skips(fast)


@pytest.fixture
def one_process() -> Iterator[None]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    at = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=at, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_distributed_data_parallel() -> None:
    parallel = nn.parallel.DistributedDataParallel
    fast = compact(net(), ALWAYS)
    for one, seed in ((parallel(fast), 0), (compact(parallel(net()), ALWAYS), 1)):
        torch.manual_seed(seed)
        one(images()).sin().sum().backward()
        model = net()
        torch.manual_seed(seed)
        model(images()).sin().sum().backward()
        for (name, p), q in zip(model.named_parameters(), one.parameters(), strict=True):
            assert p.grad is not None
            assert q.grad is not None
            check_close(name, p.grad, q.grad)
    assert skips(fast)


@pytest.mark.parametrize("names", [["first"], ["second"], ["last"], ["first", "second"]])
def test_frozen_parameters_have_no_gradient(names: list[str]) -> None:
    def make() -> nn.Module:
        model = net()
        for name in names:
            model.get_submodule(name).requires_grad_(False)
        return model

    fast = same(make)
    fast(images()).sum().backward()
    assert all((p.grad is None) != p.requires_grad for p in fast.parameters())


def test_no_grad() -> None:
    fast, model = compact(net(), ALWAYS), net()
    with torch.no_grad():
        torch.manual_seed(0)
        expected = model(images())
        torch.manual_seed(0)
        y = fast(images())
    check_close("output", expected, y)
    assert not y.requires_grad
    with torch.inference_mode():
        torch.manual_seed(0)
        check_close("output", expected, fast(images()))


def test_two_layers_may_share_a_weight() -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        layers = [nn.Conv2d(20, 20, 3, padding=1) for _ in range(3)]
        layers[1].weight = layers[0].weight
        drops = [nn.Dropout2d(0.5) for _ in range(3)]
        parts = [part for pair in zip(layers, drops, strict=True) for part in pair]
        return nn.Sequential(nn.Conv2d(3, 20, 1), *parts, layers[0]).double()

    same(make)


def test_weight_norm() -> None:
    def make() -> nn.Module:
        model = net()
        weight_norm(model.second[0])
        weight_norm(model.last)
        return model

    same(make)


def test_hooks_see_dense_arrays() -> None:
    found = []
    for one in (net(), compact(net(), ALWAYS)):
        seen: list[Tensor] = []
        one.second[1].register_forward_hook(lambda m, a, y, seen=seen: seen.extend([a[0], y]))
        one.register_forward_hook(lambda m, a, y, seen=seen: seen.append(y))
        one.first[0].register_full_backward_hook(
            lambda m, i, o, seen=seen: seen.append(o[0])  # type: ignore[misc]
        )
        torch.manual_seed(0)
        one(images().requires_grad_()).sin().sum().backward()
        found.append(seen)
    assert len(found[0]) == 4
    for at, (expected, got) in enumerate(zip(*found, strict=True)):
        check_close(f"what hook {at} saw", expected.detach(), got.detach())


def test_a_hook_added_later_is_called() -> None:
    fast = same(net)
    calls = []
    handle = fast.last.register_forward_hook(
        lambda m, a, y: (calls.append(0), 2 * y)[1]  # type: ignore[func-returns-value]
    )
    model = net()
    model.last.register_forward_hook(lambda m, a, y: 2 * y)
    check_step(step(model, [images()]), step(fast, [images()]))
    assert len(calls) == 1
    handle.remove()
    check_step(step(net(), [images()]), step(fast, [images()]))


@pytest.mark.parametrize("inside", [True, False])
def test_seeded(inside: bool) -> None:
    def fast() -> Net:
        return compact(seeded(net(), 5), ALWAYS) if inside else seeded(compact(net(), ALWAYS), 5)

    one, other = seeded(net(), 5), fast()
    for seed in range(3):
        check_step(step(one, [images()], seed), step(other, [images()], seed))
    assert skips(other)
    assert [m.mapdrop_step for m in other.modules() if isinstance(m, Drop)] == [3]
    resumed = fast()
    resumed.load_state_dict(other.state_dict())
    check_step(step(one, [images()]), step(resumed, [images()]))


def test_two_trainings_end_the_same() -> None:
    fast, model = compact(net(), ALWAYS), net()
    target = images()[:, :1, :4, :4]
    for one in (fast, model):
        torch.manual_seed(0)
        optimiser = torch.optim.SGD(one.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)
        first = None
        for _ in range(200):
            optimiser.zero_grad()
            loss = (one(images()) - target).square().mean()
            first = loss.item() if first is None else first
            loss.backward()
            optimiser.step()
        assert first is not None
        assert loss.item() < 0.95 * first
    assert skips(fast)
    for (name, p), q in zip(model.named_parameters(), fast.parameters(), strict=True):
        check_close(name, p.detach(), q.detach(), 1e-9)


def normalised(share: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 40, 3),
        nn.BatchNorm2d(40),
        nn.ReLU(),
        SpatialDropout2d(0.5, share=share),
        nn.Conv2d(40, 5, 3),
    ).double()


def test_batch_norm_under_one_mask_for_the_batch() -> None:
    fast = same(normalised)
    made = {line.name: line.makes for line in fast.report().lines}
    assert min(made.values()) < 1


def test_running_statistics_of_dropped_maps_stay_as_they_were() -> None:
    fast, model = compact(normalised(), ALWAYS), normalised()
    seen: list[Tensor] = []
    model[3].register_forward_hook(lambda m, a, y: seen.append(y))
    check_step(step(model, [images()]), step(fast, [images()]))
    kept = (seen[0] != 0).any(dim=(0, 2, 3))
    assert 0 < kept.sum() < 40
    for name, start in (("running_mean", 0.0), ("running_var", 1.0)):
        got, dense = getattr(fast[1], name), getattr(model[1], name)
        assert torch.allclose(got[kept], dense[kept], rtol=1e-12)
        assert (dense[~kept] != start).all()
        assert (got[~kept] == start).all()
    assert int(fast[1].num_batches_tracked) == 1  # type: ignore[arg-type]


def test_batch_norm_under_masks_that_differ_is_exact() -> None:
    fast = same(lambda: normalised(share=1))
    assert all(line.makes > 0.9 for line in fast.report().lines)  # Unless all samples drop it.


def test_random_numbers_are_drawn_in_the_same_order() -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 20, 3),
            nn.Dropout2d(0.5),
            nn.Conv2d(20, 20, 3),
            nn.Dropout(0.3),
            nn.Conv2d(20, 20, 1),
            SpatialDropout2d(0.5),
            nn.Conv2d(20, 20, 1),
            Dropout(0.3),
            nn.RReLU(),
            nn.Conv2d(20, 40, 1),
            nn.Dropout2d(0.5),
            nn.Conv2d(40, 3, 1),
        ).double()

    same(make, seeds=range(4))


@pytest.mark.compiler
def test_it_skips_under_torch_compile() -> None:
    fast = compact(net(), ALWAYS)
    compiled = torch.compile(fast, backend="eager")
    for seed in range(2):
        expected, got = step(net(), [images()], seed), step(compiled, [images()], seed)  # type: ignore[arg-type]
        check_close("output", expected.outputs["output"], got.outputs["output"])
        for one, other in zip(expected.gradients.values(), got.gradients.values(), strict=True):
            assert one is not None
            assert other is not None
            check_close("gradient", one, other)
    assert skips(fast)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="disable"):
        torch.compile(fast, backend="eager", fullgraph=True)(images())
    fast.eval()
    compiled = torch.compile(fast, backend="eager", fullgraph=True)
    check_close("output", net().eval()(images()), compiled(images()))


@pytest.mark.parametrize("coins", ["b c h w", "b h w", "b c"])
def test_a_drop_that_splits_an_axis_of_maps_does_not_stop_the_others(coins: str) -> None:
    """Patches of 2 x 2 values share a coin, or all of a map do, written so that its axes split."""

    def make() -> nn.Module:
        torch.manual_seed(3)
        patches = Drop(f"b c (h k) (w l) -> {coins}", 0.3, k=2, l=2)
        drop, last = SpatialDropout2d(0.5), nn.Conv2d(24, 4, 1)
        return nn.Sequential(nn.Conv2d(3, 8, 3), patches, nn.Conv2d(8, 24, 3), drop, last).double()

    same(make)


@pytest.mark.compiler
def test_export_has_the_models_own_operations() -> None:
    names = [
        [n.name for n in torch.export.export(one, (images(),)).graph.nodes if n.op[:4] == "call"]
        for one in (net(), compact(net(), ALWAYS))
    ]
    assert names[0] == names[1]


def test_transforms_get_the_models_own_forward() -> None:
    fast, model = compact(net(0.0), ALWAYS), net(0.0)
    for one in (fast, model):
        setattr(one.second[2], "p", 0.0)  # noqa: B010
    expected = torch.func.vmap(model)(images().unsqueeze(1))
    check_close("vmap", expected, torch.func.vmap(fast)(images().unsqueeze(1)))


def test_a_model_that_cannot_be_captured_still_runs() -> None:
    class Branching(Net):
        def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
            y = self.first(x)
            return super().forward(x if y.sum().item() > 1e9 else 2 * x, factor)

    def make() -> nn.Module:
        torch.manual_seed(0)
        return Branching().double()

    check_same(make, [images()])

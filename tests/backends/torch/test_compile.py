"""torch.compile and torch.export: no graph break, and the very mask of eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._inductor.fx_passes import post_grad
from torch._subclasses.fake_tensor import FakeTensorMode

import mapdrop
from mapdrop.torch import DropBlock2d, Dropout, DropPath, SpatialDropout2d, seeded

pytestmark = pytest.mark.compiler

X = torch.randn(6, 8, 7, 5, generator=torch.Generator().manual_seed(0))
REQUESTS: dict[str, dict[str, Any]] = {
    "spatial": {"pattern": "b c h w -> b c"},
    "element": {"pattern": "b c h w -> b h w c"},
    "grouped": {"pattern": "b (g k) h w -> b g", "k": 4},
    "block": {"pattern": "b c h w -> b h w c", "block": {"h": 3, "w": 2}, "scale": "batch"},
    "exact": {"pattern": "b c h w -> b c", "exact": "c"},
    "balance": {"pattern": "b c h w -> b c", "balance": "b", "scale": None},
}


# Versions up to 2.10 draw for the compiled operations in another order than for eager ones.
in_order = pytest.mark.skipif(
    not hasattr(post_grad, "_is_nondeterministic_seeded_node"),
    reason="this version's compiler changes the order in which the generator is drawn from",
)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


def whole(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(function, fullgraph=True)
    return compiled


@pytest.mark.parametrize(
    "fresh", [False, pytest.param(True, marks=in_order)], ids=["seed", "fresh"]
)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_compiled_equals_eager(request_: dict[str, Any], fresh: bool) -> None:
    def twice(x: Tensor, seed: int | None) -> tuple[Tensor, Tensor]:
        first = mapdrop.drop(x, p=0.4, seed=seed, stream="a", **request_)
        return first, mapdrop.drop(first + 1, p=0.4, seed=seed, stream="b", **request_)

    seed = None if fresh else 2**63 + 5
    torch.manual_seed(3)
    expected = twice(X, seed)
    torch.manual_seed(3)
    got = whole(twice)(X, seed)
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(expected[0] == 0, expected[1] == 0)


@in_order
def test_independent_draws_keep_their_order() -> None:
    def branches(x: Tensor) -> Tensor:
        parts = [mapdrop.drop(x + i, "b c h w -> b c", 0.5) * (i + 1) for i in range(4)]
        return parts[3].sin() + parts[1] - parts[0].exp() * parts[2]

    for _ in range(2):
        torch.manual_seed(1)
        expected = branches(X)
        torch.manual_seed(1)
        torch.testing.assert_close(whole(branches)(X), expected)


def test_seed_and_step_tensors_do_not_compile_again() -> None:
    def drop(x: Tensor, seed: Tensor, step: Tensor) -> Tensor:
        return mapdrop.drop(x, "b c h w -> b c", 0.5, seed=seed, step=step, stream="s")

    compiled = torch.compile(drop, fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed, step in ((1, 2), (3, 4), (2**40, 2**35)):
            expected = mapdrop.drop(X, "b c h w -> b c", 0.5, seed=seed, step=step, stream="s")
            assert torch.equal(compiled(X, torch.tensor(seed), torch.tensor(step)), expected)


def test_an_unknown_batch_size() -> None:
    compiled = torch.compile(
        lambda x: mapdrop.drop(x, "(m 2) c h w -> m c", 0.5, seed=1), fullgraph=True, dynamic=True
    )
    for batch in (2, 4, 6):
        expected = mapdrop.drop(X[:batch], "(m 2) c h w -> m c", 0.5, seed=1)
        assert torch.equal(compiled(X[:batch]), expected)


def test_in_place_when_compiled() -> None:
    def overwrite(x: Tensor) -> Tensor:
        y = x * 1
        return mapdrop.drop(y, "b c h w -> b c", 0.5, seed=3, inplace=True) + y

    assert torch.equal(whole(overwrite)(X), overwrite(X))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1),
        SpatialDropout2d(0.5),
        DropBlock2d(0.2, 3),
        nn.Conv2d(8, 8, 3, padding=1),
        Dropout(0.3),
        SpatialDropout2d(0.5, share=4, balance=True),
        DropPath(0.2),
    )


@pytest.mark.parametrize("with_seed", [False, True], ids=["fresh", "seeded"])
def test_a_compiled_model_trains_with_the_masks_of_eager(with_seed: bool) -> None:
    grads = []
    for compiled in (False, True):
        net = seeded(model(), 7) if with_seed else model()
        run = torch.compile(net, fullgraph=True) if compiled else net
        torch.manual_seed(5)
        for _ in range(3):
            run(X).square().mean().backward()
        grads.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(grads[1], grads[0])
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads[0])


def test_export_in_training_keeps_the_masks() -> None:
    net = model().train()
    program = torch.export.export(net, (X,))
    drops = [n for n in program.graph.nodes if n.target is torch.ops.mapdrop.drop.default]
    assert len(drops) == 5
    torch.manual_seed(5)
    expected = net(X)
    torch.manual_seed(5)
    torch.testing.assert_close(program.module()(X), expected)


def test_export_in_eval_has_no_trace_of_us() -> None:
    net = model().eval()
    program = torch.export.export(net, (X,))
    assert not [n for n in program.graph.nodes if "mapdrop" in str(n.target)]
    assert torch.equal(program.module()(X), net(X))


def test_errors_while_tracing_say_what_is_wrong() -> None:
    with pytest.raises(Exception, match="the pattern names 2 axes, the array has 4"):
        whole(lambda x: mapdrop.drop(x, "b c -> b", 0.5))(X)


def test_meta_and_fake_tensors_have_shape_and_layout() -> None:
    like = torch.empty(2, 3, 4, 5, device="meta").to(memory_format=torch.channels_last)
    y = mapdrop.drop(like, "b c h w -> b c", 0.5)
    assert (y.shape, y.stride(), y.device.type) == (like.shape, like.stride(), "meta")
    with FakeTensorMode():
        fake = torch.empty(2, 3, 4, 5, dtype=torch.bfloat16)
        z = mapdrop.drop(fake, "b c h w -> b c", 0.5)
    assert (z.shape, z.dtype) == (fake.shape, fake.dtype)

"""Compiled once for all rates: the bits, the gradients, what is fused, and what is counted."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._functorch import config as functorch
from torch._inductor import config as inductor
from torch._inductor.utils import run_and_get_code
from torch.utils.checkpoint import checkpoint
from transformers import BeitConfig, BeitModel

import mapdrop
from mapdrop import rates
from mapdrop.backends import torch as backend
from mapdrop.torch import (
    Drop,
    DropBlock2d,
    Dropout,
    DropPath,
    SpatialDropout2d,
    schedule,
    seeded,
)
from tests.backends.torch.test_compile import in_order

pytestmark = pytest.mark.compiler

X = torch.randn(6, 8, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LAYERS: dict[str, Callable[[], Drop]] = {
    "spatial": lambda: SpatialDropout2d(0.5),
    "path": lambda: DropPath(0.5),
    "element": lambda: Dropout(0.5),
    "grouped": lambda: Drop("b (g k) h w -> b g", 0.5, k=4),
    "block": lambda: DropBlock2d(0.5, 3),
    "block, by what is kept": lambda: DropBlock2d(0.5, 3, scale="batch"),
    "exact": lambda: Drop("b c h w -> b c", 0.5, exact="c", scale="expected"),
    "balance": lambda: SpatialDropout2d(0.5, share=2, balance=True),
    "unscaled": lambda: Drop("b c h w -> b c", 0.5, scale=None),
    "in place": lambda: Drop("b c h w -> b c", 0.5, inplace=True),
}
RAMP = [step / 20 for step in range(21)]  # From 0 to 1, both included.
JUMPS = [0.0, 1.0, 0.0, 0.3]

filter_exact = pytest.mark.filterwarnings("ignore:exact='c' always drops")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    with inductor.patch(fx_graph_cache=False), functorch.patch(enable_autograd_cache=False):
        yield


def model(make: Callable[[], Drop]) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), make(), nn.SiLU()).double()


def step_of(net: Callable[[Tensor], Tensor], seed: int) -> list[Tensor]:
    """Return what a training step gives, and the state of the generator after it."""
    x = X.clone().requires_grad_()
    torch.manual_seed(seed)
    y = net(x)
    state = torch.get_rng_state()
    (gradient,) = torch.autograd.grad(y, x, torch.linspace(1, 2, y.numel()).reshape(y.shape).to(y))
    return [y.detach(), gradient, state]


def close(one: list[Tensor], other: list[Tensor]) -> None:
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@filter_exact
@pytest.mark.parametrize("seed", [None, pytest.param(7, id="seeded")])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_compiled_once_for_a_ramp(make: Callable[[], Drop], seed: int | None) -> None:
    """At each rate: values, gradients and the generator of an eager layer that was given it."""
    net, eager = model(make), model(make)
    if seed is not None:
        seeded(net, seed), seeded(eager, seed)
    ramp, counter = schedule(net, lambda step, p: (RAMP + JUMPS)[step], None), _counter()
    compiled = torch.compile(net, backend=counter, fullgraph=True)
    shares = []
    for number, p in enumerate(RAMP + JUMPS):
        if number:
            ramp.step()
        eager[1].p = p
        have, want = step_of(compiled, number), step_of(eager, number)
        close(have, want)
        shares.append(float((have[0] == 0).double().mean()))
    assert counter.frame_count == 1
    assert eager[1].mapdrop_step == net[1].mapdrop_step == (0 if seed is None else 22)
    assert shares[0] < 0.1 < shares[10] < 0.9 < shares[20]


def test_without_a_schedule_it_is_compiled_again() -> None:
    """The twin: what counts above counts here."""
    net, counter = model(LAYERS["spatial"]), _counter()
    compiled = torch.compile(net, backend=counter, fullgraph=True)
    for p in (0.0, 0.25, 0.5):
        net[1].p = p
        step_of(compiled, 0)
    assert counter.frame_count >= 3


def _counter() -> Any:
    return CompileCounterWithBackend("inductor")


@in_order
def test_a_model_of_transformers() -> None:
    """Drop path that rises with depth, in the place of the model's own."""

    def beit() -> nn.Module:
        torch.manual_seed(0)
        config = BeitConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
            image_size=16, patch_size=8, drop_path_rate=0.4, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        net = BeitModel(config, add_pooling_layer=False).double()
        for module in list(net.modules()):
            for name, child in cast("list[tuple[str, Any]]", list(module.named_children())):
                if type(child).__name__ == "BeitDropPath":
                    setattr(module, name, DropPath(child.drop_prob))
        return net

    net, other, counter = beit(), beit(), CompileCounterWithBackend("aot_eager")
    ramp = schedule(net, rates.linear(0, 1, 3), None)
    assert set(ramp.state_dict()["own"].values()) == {0.2, 0.4}
    compiled = torch.compile(net, backend=counter, fullgraph=True)
    pixels = torch.randn(8, 3, 16, 16, dtype=torch.float64)
    outputs = []
    for step in range(5):
        for layer, p in zip(
            (m for m in other.modules() if isinstance(m, Drop)), ramp.rates.values(), strict=True
        ):
            layer.p = p
        found = []
        for one in (compiled, other):
            torch.manual_seed(step)
            of = net if one is compiled else other
            of.zero_grad()
            y = one(pixels).last_hidden_state
            y.square().sum().backward()
            found.append([y.detach(), *(p.grad for p in of.parameters() if p.grad is not None)])
        close(*found)
        outputs.append(found[0][0])
        ramp.step()
    assert counter.frame_count == 1
    assert not torch.allclose(outputs[0], outputs[3])


@pytest.mark.parametrize(
    ("make", "fused"), [("spatial", True), ("path", True), ("block", True), ("element", False)]
)
def test_what_is_fused(make: str, fused: bool) -> None:
    """As without a schedule: a mask, and operations that fuse; single values in one operation."""
    net = model(LAYERS[make])
    schedule(net, rates.linear(0.5, 1, 3), None)
    _, codes = run_and_get_code(step_of, torch.compile(net, fullgraph=True), 0)
    code = "\n".join(codes)
    assert ("mapdrop.mask.scheduled" in code) == fused
    assert ("mapdrop.drop_whole.scheduled" in code) == (not fused)
    assert code.count("mapdrop.rate.default(") <= 2  # In a comment, and once for both passes.


def test_backward_has_the_rate_of_its_forward() -> None:
    for name in ("spatial", "element"):
        net = nn.Sequential(LAYERS[name]())
        ramp = schedule(net, rates.linear(1, 0, 2), None)
        compiled = torch.compile(net, fullgraph=True)
        x = torch.ones_like(X, requires_grad=True)
        y = compiled(x)
        ramp.step()
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(gradient, y.detach())
        assert set(gradient.unique().tolist()) == {0.0, 2.0}


def test_an_unknown_batch_size() -> None:
    net, eager = model(LAYERS["spatial"]), model(LAYERS["spatial"])
    ramp, counter = schedule(net, rates.linear(0, 1, 4), None), _counter()
    compiled: Any = torch.compile(net, backend=counter, dynamic=True, fullgraph=True)
    frames = []
    for number in range(5):
        eager[1].p = net[1].p
        torch.manual_seed(number)
        want = eager(X[: 2 + number])
        torch.manual_seed(number)
        torch.testing.assert_close(compiled(X[: 2 + number]), want, rtol=1e-12, atol=1e-12)
        frames.append(counter.frame_count)
        ramp.step()
    assert frames[-1] == frames[0]


@pytest.mark.parametrize("seed", [None, pytest.param(7, id="seeded")])
def test_checkpointed_when_compiled(seed: int | None) -> None:
    net, eager = model(LAYERS["spatial"]), model(LAYERS["spatial"])
    if seed is not None:
        seeded(net, seed), seeded(eager, seed)
    ramp, counter = schedule(net, rates.linear(0, 1, 3), None), _counter()

    def recomputed(x: Tensor) -> Tensor:
        y: Tensor = checkpoint(net, x, use_reentrant=False)
        return y.sin()

    compiled = torch.compile(recomputed, backend=counter)
    for number in range(4):
        eager[1].p = net[1].p
        close(step_of(compiled, number)[:2], step_of(lambda x: eager(x).sin(), number)[:2])
        ramp.step()
    assert counter.frame_count == 1


def test_a_rate_out_of_its_range_is_refused_when_the_graph_runs() -> None:
    net = model(LAYERS["spatial"])
    schedule(net, rates.linear(0.5, 1, 3), None)
    compiled: Any = torch.compile(net, fullgraph=True)
    step_of(compiled, 0)
    net[1].scheduled.p = 1.5
    with pytest.raises(ValueError, match=r"p is the fraction to drop, from 0 to 1, not 1\.5"):
        compiled(X)


def test_a_graph_that_outlives_its_layer_says_so() -> None:
    net = nn.Sequential(SpatialDropout2d(0.5))
    schedule(net, rates.linear(0.5, 1, 3), None)
    graph: Any = torch.export.export(net, (X,)).module()
    assert 0 < int((graph(X) == 0).sum()) < X.numel()
    del net
    gc.collect()
    with pytest.raises(RuntimeError, match="the scheduled layer that this graph was made of is no"):
        graph(X)


def test_a_schedule_that_is_removed_gives_the_usual_layer_again() -> None:
    net, counter = model(LAYERS["spatial"]), _counter()
    compiled = torch.compile(net, backend=counter, fullgraph=True)
    before = step_of(compiled, 3)
    ramp = schedule(net, rates.linear(0, 1, 3), None)
    assert not torch.equal(step_of(compiled, 3)[0], before[0])
    ramp.remove()
    close(step_of(compiled, 3), before)
    assert counter.frame_count == 2


@pytest.mark.parametrize("tracked", [False, True], ids=["no gradient", "gradient"])
@pytest.mark.parametrize("pattern", ["b c h w -> b c h w", "b c h w -> b c"])
def test_a_rate_that_another_graph_has_read(pattern: str, tracked: bool) -> None:
    """As where a graph breaks behind it: it comes as a tensor, and is no constant."""

    @torch.compile(fullgraph=True)
    def drop(x: Tensor, rate: Tensor) -> Tensor:
        spec = backend.mask_spec(pattern, rate)
        return backend.drop(x, spec, seed=7)

    x = X.clone().requires_grad_(tracked)
    for p in (0.0, 0.5, 0.2, 1.0):
        came = drop(x, torch.tensor(p, dtype=torch.float64)).detach()
        wanted = mapdrop.mask(pattern, tuple(X.shape), p, seed=7).apply(X)
        torch.testing.assert_close(came, wanted, rtol=1e-12, atol=0)

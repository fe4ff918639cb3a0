"""`mapdrop.residual` under what PyTorch does with code: transforms, traces, recomputing, shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import mapdrop
from mapdrop.torch import shard

PATH: dict[str, Any] = {"seed": 7}  # 5 of 8 are kept at p = 0.3.
BALANCED: dict[str, Any] = {"balance": "b", "seed": 7}  # 5 of 8 as well, and at most 6.


def values(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def branch(x: Tensor) -> Tensor:
    return x.tanh() * 3


def ours(x: Tensor, **options: Any) -> Tensor:
    return mapdrop.residual(branch, x, 0.3, **options)


def dense(x: Tensor, **options: Any) -> Tensor:
    made: Tensor = x + mapdrop.drop(branch(x), "b ... -> b", 0.3, **options)
    return made


def check(came: Tensor, wanted: Tensor, x: Tensor) -> None:
    """The two are equal, and not what no dropping or dropping all would give."""
    torch.testing.assert_close(came, wanted, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(wanted, x)
    assert not torch.allclose(wanted, x + branch(x) / 0.7)


class Block(nn.Module):
    """A linear branch, and the number of samples that it saw."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 3, dtype=torch.float64)
        self.options = options
        self.p = 0.3

    def forward(self, x: Tensor) -> Tensor:
        return mapdrop.residual(self.linear, x, self.p, **self.options)

    def dense(self, x: Tensor) -> Tensor:
        made: Tensor = x + mapdrop.drop(self.linear(x), "b ... -> b", self.p, **self.options)
        return made


# --- Derivatives and torch.func.


def test_second_derivatives() -> None:
    x = values(4, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: ours(x, seed=0), x)


def test_forward_mode() -> None:
    x = values(8, 2)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, x.cos())
        came, wanted = (forward_ad.unpack_dual(f(dual, seed=0)).tangent for f in (ours, dense))
        torch.testing.assert_close(came, wanted)
    assert (wanted == x.cos()).all(1).any()
    assert not (wanted == x.cos()).all()


def test_grad_of_torch_func() -> None:
    x = values(8, 2)
    came, wanted = (
        torch.func.grad(lambda x, f=f: f(x, **BALANCED).square().sum())(x) for f in (ours, dense)
    )
    torch.testing.assert_close(came, wanted)
    assert not torch.allclose(wanted, 2 * x)


@pytest.mark.parametrize("options", [PATH, BALANCED], ids=["path", "balanced"])
def test_vmap_gives_all_examples_one_mask(options: dict[str, Any]) -> None:
    x = values(3, 8, 2)
    came, wanted = (torch.func.vmap(lambda x, f=f: f(x, **options))(x) for f in (ours, dense))
    check(came, wanted, x)


def test_vmap_over_seeds() -> None:
    x, seeds = values(3, 8, 2), torch.arange(3)
    came, wanted = (
        torch.func.vmap(lambda x, seed, f=f: f(x, seed=seed))(x, seeds) for f in (ours, dense)
    )
    check(came, wanted, x)
    assert not torch.equal(wanted[0] == x[0], wanted[1] == x[1])


@pytest.mark.compiler
def test_vmap_in_compiled_code_has_one_seed() -> None:
    x = values(3, 8, 2)

    @torch.compile(backend="aot_eager", fullgraph=True)
    def one(x: Tensor) -> Tensor:
        return torch.func.vmap(lambda x: ours(x, **BALANCED))(x)

    check(one(x), torch.func.vmap(lambda x: dense(x, **BALANCED))(x), x)

    @torch.compile(backend="aot_eager", fullgraph=True)
    def several(x: Tensor, seeds: Tensor) -> Tensor:
        return torch.func.vmap(lambda x, seed: ours(x, balance="b", seed=seed))(x, seeds)

    with pytest.raises(Exception, match="takes one seed for all examples"):
        several(x, torch.arange(3))


# --- Seeds and recomputing.


def test_a_fresh_seed_is_the_one_that_drop_would_draw() -> None:
    x = values(64, 2)
    torch.manual_seed(5)
    came = ours(x)
    torch.manual_seed(5)
    check(came, dense(x), x)
    assert not torch.equal(ours(x), came)


def test_seed_and_step_may_be_tensors() -> None:
    x = values(8, 2)
    came = ours(x, seed=torch.tensor(7), step=torch.tensor(3), stream="s")
    check(came, dense(x, seed=7, step=3, stream="s"), x)


def test_a_recomputed_branch_sees_the_same_samples() -> None:
    block, x = Block(), values(16, 3)
    torch.manual_seed(3)
    block(x).square().sum().backward()
    wanted = [p.grad for p in block.parameters()]
    block.zero_grad()
    torch.manual_seed(3)
    y = checkpoint(block, x, use_reentrant=False)
    torch.manual_seed(4)
    assert isinstance(y, Tensor)
    y.square().sum().backward()
    for parameter, grad in zip(block.parameters(), wanted, strict=True):
        assert grad is not None
        assert grad.abs().sum() > 0
        assert torch.equal(parameter.grad, grad) if parameter.grad is not None else False


def test_a_branch_that_keeps_nobody_has_gradients_of_zeros() -> None:
    net = nn.Sequential(
        nn.LayerNorm(4), nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 4)
    )

    def run(x: Tensor) -> Tensor:
        x = net[0](x)
        return net[2](net[1](x, x, x, need_weights=False)[0])  # type: ignore[no-any-return]

    x = torch.ones(3, 5, 4, requires_grad=True)
    y = mapdrop.residual(run, x, 1.0)
    y.sum().backward()
    assert torch.equal(y, x)
    assert x.grad is not None
    assert (x.grad == 1).all()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any()


def test_autocast_in_the_branch() -> None:
    """The result is rounded as that of x + drop(branch(x)): once in bfloat16, and then added."""
    x = values(8, 5).float()

    def narrow(x: Tensor) -> Tensor:
        return (x * 3).bfloat16()

    came = mapdrop.residual(narrow, x, 0.3, seed=0)
    assert came.dtype == torch.float32
    assert torch.equal(came, x + mapdrop.drop(narrow(x), "b ... -> b", 0.3, seed=0))
    linear = nn.Linear(5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        came = mapdrop.residual(linear, x, 0.3, seed=0)
        wanted = x + mapdrop.drop(linear(x), "b ... -> b", 0.3, seed=0)
    assert came.dtype == torch.float32
    torch.testing.assert_close(came, wanted, rtol=1e-2, atol=1e-2)
    assert not torch.equal(came, x)


# --- Tracing and compiling.


def _fx(block: Block, x: Tensor) -> Callable[[Tensor], Any]:
    return torch.fx.symbolic_trace(block)


def _jit(block: Block, x: Tensor) -> Any:
    trace: Any = torch.jit.trace
    return trace(block, (x,), check_trace=False)


def _export(block: Block, x: Tensor) -> Any:
    return torch.export.export(block, (x,)).module()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("options", [PATH, BALANCED], ids=["path", "balanced"])
@pytest.mark.parametrize("trace", [_fx, _jit, _export])
def test_what_is_traced_drops_the_same(trace: Any, options: dict[str, Any]) -> None:
    block, x = Block(**options), values(8, 3)
    came = trace(block, x)(x)
    torch.testing.assert_close(came, block.dense(x))
    assert ((came == x).all(1)).sum() == len(x) - 5


@pytest.mark.parametrize("options", [PATH, BALANCED], ids=["path", "balanced"])
def test_tensors_without_values(options: dict[str, Any]) -> None:
    assert Block(**options).to("meta")(torch.ones(8, 3, device="meta")).shape == (8, 3)


@pytest.mark.compiler
def test_one_graph_for_sequences_of_any_length() -> None:
    block, lengths = Block(**BALANCED), (4, 5, 6, 7)
    graphs: list[Any] = []

    def count(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph

    compiled = torch.compile(block, backend=count, fullgraph=True, dynamic=True)
    for length in lengths:
        x = values(8, length, 3)
        torch.testing.assert_close(compiled(x), block.dense(x))
    assert len(graphs) == 1
    compiled(values(6, 4, 3))
    assert len(graphs) == 2, "the number of samples is known"


@pytest.mark.compiler
def test_compiled_code_follows_the_rate() -> None:
    torch._dynamo.reset()  # Its limit of compilations is for all layers of a process.
    block, x = Block(**BALANCED), values(8, 3)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    kept = []
    for block.p in (0.0, 0.25, 0.5, 1.0):
        came = compiled(x)
        torch.testing.assert_close(came, block.dense(x))
        kept.append(int((came != x).any(1).sum()))
    assert kept == [8, 6, 4, 0]


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("pattern", "message"), [("b 3 -> b", "has 2"), ("b c -> b c", "'c' has coins of its own")]
)
def test_errors_in_compiled_code(pattern: str, message: str) -> None:
    @torch.compile(backend="aot_eager", fullgraph=True)
    def compiled(x: Tensor) -> Tensor:
        return mapdrop.residual(branch, x, 0.3, pattern, balance="b", seed=0)

    with pytest.raises(Exception, match=message):
        compiled(values(4, 2))


@pytest.mark.compiler
def test_coins_of_other_axes_are_refused_in_compiled_code() -> None:
    """Also where the number of kept samples is unknown, and single values could be dropped."""
    call = torch.compile(lambda x: mapdrop.residual(branch, x, 0.3, "b c -> b c", seed=0))
    with pytest.raises(Exception, match="'c' has coins of its own"):
        call(values(4, 2))


@pytest.mark.compiler
@pytest.mark.parametrize("kind", ["seed", "step"])
@pytest.mark.parametrize("added", [ours, dense])
def test_numbers_that_vary_do_not_compile_again(added: Any, kind: str) -> None:
    counted = CompileCounter()
    torch._dynamo.reset()

    def call(x: Tensor, number: int) -> Tensor:
        return added(x, **{"seed": 1, kind: number})  # type: ignore[no-any-return]

    compiled = torch.compile(call, backend=counted, fullgraph=True)
    x = values(8, 3)
    for number in (3, 9, 2, 7, 2**40, 4):
        torch.testing.assert_close(compiled(x, number), call(x, number))
    assert counted.frame_count <= 2


# --- Shards.


@pytest.mark.parametrize(
    "options",
    [
        {}, {"balance": "b"}, {"exact": "b"}, {"scale": "batch"},
        {"pattern": "(m s) ... -> m", "s": 4},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("strided", [False, True])
def test_a_shard_runs_its_part_of_the_kept_samples(options: dict[str, Any], strided: bool) -> None:
    x = values(8, 4, 3)
    whole = ours(x, seed=3, **options)
    assert 0 < (whole != x).any((1, 2)).sum() < 8
    for rank in range(2):
        part = slice(rank, None, 2) if strided else slice(4 * rank, 4 * rank + 4)
        with shard(0, rank, 2, size=8, strided=strided):
            torch.testing.assert_close(ours(x[part], seed=3, **options), whole[part])
            with shard(-1, 1, 3, size=9):  # Along an axis without coins.
                torch.testing.assert_close(ours(x[part], seed=3, **options), whole[part])


@pytest.mark.compiler
def test_a_compiled_shard_may_keep_all_of_its_part() -> None:
    """Of 8 samples 4 are kept, and may be those of one shard."""
    x, seeds = values(8, 3), range(200)

    @torch.compile(backend="eager", fullgraph=True)
    def compiled(x: Tensor, seed: Tensor) -> Tensor:
        return mapdrop.residual(branch, x, 0.5, balance="b", seed=seed)

    kept = []
    for seed in seeds:
        with shard(0, 1, 2):
            came = compiled(x[4:], torch.tensor(seed))
        whole = mapdrop.residual(branch, x, 0.5, balance="b", seed=seed)
        torch.testing.assert_close(came, whole[4:])
        kept.append(int((came != x[4:]).any(1).sum()))
    assert {1, 2, 3, 4} <= set(kept)


def test_what_a_branch_returns_is_not_kept_for_backward() -> None:
    """PyTorch's index_add keeps what it adds, of which the gradient needs the shape alone."""
    given: list[torch.Size] = []
    kept: list[torch.Size] = []

    def doubled(x: Tensor) -> Tensor:
        given.append(x.shape)
        return 2 * x

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    x = values(8, 3).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = mapdrop.residual(doubled, x, 0.3, **PATH)
    assert given[0] not in kept
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.unique().numel() == 2


@pytest.mark.parametrize("options", [PATH, BALANCED], ids=["free", "balanced"])
def test_the_memory_layout_stays(options: dict[str, Any]) -> None:
    x = values(8, 5, 4, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen = []

    def noted(x: Tensor) -> Tensor:
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return branch(x)

    y = mapdrop.residual(noted, x, 0.3, **options)
    (gradient,) = torch.autograd.grad(y, x, torch.randn_like(y))
    assert seen == [True]
    assert y.stride() == gradient.stride() == x.stride()
    check(y, dense(x, **options), x)


def test_channels_last_in_compiled_code() -> None:
    x = values(8, 5, 4, 3).contiguous(memory_format=torch.channels_last)
    y = torch.compile(lambda x: ours(x, **BALANCED), backend="aot_eager", fullgraph=True)(x)
    check(y, dense(x, **BALANCED), x)

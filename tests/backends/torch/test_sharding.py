"""Parts of a tensor: each draws the whole's mask for itself, and no more of it than it needs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import placement_types
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DistributedSampler

import mapdrop
from mapdrop import kernels
from mapdrop.backends import cpu
from mapdrop.backends.torch.sharding import _placed
from mapdrop.spec.law import Law
from mapdrop.torch import DropBlock2d, Dropout, SpatialDropout2d, compact, seeded, shard
from tests import checks
from tests.one_by_one import kept_at

SHAPE = (8, 6, 5, 7)
REQUESTS: dict[str, dict[str, Any]] = {
    "element": {"pattern": "b c h w -> b c h w"},
    "element, other order": {"pattern": "b c h w -> b h w c"},
    "spatial": {"pattern": "b c h w -> b c"},
    "sample": {"pattern": "b ... -> b"},
    "all together": {"pattern": "b c h w ->"},
    "shared": {"pattern": "(m 4) c h w -> m c"},
    "group": {"pattern": "b (g 2) h w -> g b"},
    "two coin axes of one": {"pattern": "b (g k) h w -> b k g", "k": 3},
    "exact": {"pattern": "b c h w -> b c", "exact": "c"},
    "exact across samples": {"pattern": "b c h w -> c b", "exact": "b"},
    "balance": {"pattern": "(m 2) c h w -> m c", "balance": "m"},
    "block": {"pattern": "b c h w -> b h w c", "block": {"h": 3, "w": 2}},
    "full block": {"pattern": "b c h w -> b h w", "block": {"h": 3, "w": 4}, "region": "full"},
    "sample scale": {"pattern": "b c h w -> b c", "scale": "sample"},
    "batch scale": {"pattern": "b c h w -> b c h w", "scale": "batch"},
}
GIVEN: dict[str, Any] = {"p": 0.4, "seed": 2**63 + 3, "stream": "a", "step": 5}


@pytest.fixture(params=["compiled kernels", "plain operations"])
def _kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "plain operations":
        with checks.without_kernels():
            yield
    else:
        assert kernels.for_cpu() is not None
        yield


def values(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def parts(length: int, ranks: int, strided: bool) -> list[Tensor]:
    """Who has which indices, by other means: slices, and torch.chunk."""
    indices = torch.arange(length)
    if strided:
        return [indices[rank::ranks] for rank in range(ranks)]
    cut = list(indices.chunk(ranks))
    return cut + [indices[:0]] * (ranks - len(cut))


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("strided", [False, True], ids=["contiguous", "strided"])
def test_parts_are_the_whole_s(request_: dict[str, Any], dim: int, strided: bool) -> None:
    x = values(*SHAPE)
    whole = mapdrop.drop(x, **GIVEN, **request_)
    assert 0 < (whole == 0).sum() < whole.numel() or request_["pattern"] == "b c h w ->"
    for ranks in (1, 2, 3, 8):
        for rank, own in enumerate(parts(x.shape[dim], ranks, strided)):
            with shard(dim, rank, ranks, size=x.shape[dim], strided=strided):
                mine = mapdrop.drop(x.index_select(dim, own), **GIVEN, **request_)
            assert torch.equal(mine, whole.index_select(dim, own)), (ranks, rank)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_several_axes_and_smaller_pieces(request_: dict[str, Any]) -> None:
    x = values(*SHAPE)
    whole = mapdrop.drop(x, **GIVEN, **request_)
    with shard(0, 1, 2), shard(1, 2, 3, strided=True), shard(0, 0, 2):
        mine = mapdrop.drop(x[4:6, 2::3], **GIVEN, **request_)
    assert torch.equal(mine, whole[4:6, 2::3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("pattern", ["b c h w -> b c h w", "b c h w -> b c"])
def test_every_dtype_and_channels_last(dtype: torch.dtype, pattern: str) -> None:
    x = values(*SHAPE).to(dtype).contiguous(memory_format=torch.channels_last)
    whole = mapdrop.drop(x, pattern, **GIVEN)
    for strided in (False, True):
        own = parts(8, 2, strided)[1]
        part = x[own].contiguous(memory_format=torch.channels_last)
        with shard(0, 1, 2, strided=strided):
            mine = mapdrop.drop(part, pattern, **GIVEN)
        assert torch.equal(mine, whole[own])
        assert mine.stride() == part.stride()


def test_a_part_of_a_part_is_what_the_indices_say() -> None:
    x = values(24, 5)
    whole = mapdrop.drop(x, "b c -> b c", **GIVEN)
    for rank in range(3):
        for micro in range(2):
            own = parts(24, 3, True)[rank].chunk(2)[micro]
            with shard(0, rank, 3, strided=True), shard(0, micro, 2):
                assert torch.equal(mapdrop.drop(x[own], "b c -> b c", **GIVEN), whole[own])


def test_the_strided_parts_are_those_that_a_distributed_sampler_deals() -> None:
    x = values(12, 5)
    whole = mapdrop.drop(x, "b c -> b c", **GIVEN)
    for rank in range(4):
        sampler: Any = DistributedSampler(range(12), num_replicas=4, rank=rank, shuffle=False)  # type: ignore[arg-type]
        own = torch.tensor(list(sampler))
        with shard(0, rank, 4, strided=True):
            assert torch.equal(mapdrop.drop(x[own], "b c -> b c", **GIVEN), whole[own])


class Mesh:
    """Two processes, of which this is the first."""

    def size(self, axis: int) -> int:
        return 2

    def get_local_rank(self, axis: int) -> int:
        return 0


def test_a_placement_that_is_no_plain_part_is_refused() -> None:
    plain = _placed(torch.Size([8, 3]), Mesh(), [placement_types.Shard(0)])
    assert [(cut.dim, cut.ranks) for cut in plain] == [(0, 2)]
    assert _placed(torch.Size([8, 3]), Mesh(), [placement_types.Replicate()]) == ()
    strided = placement_types._StridedShard(0, split_factor=2)
    with pytest.raises(TypeError, match="deals an axis out twice: redistribute the DTensor"):
        _placed(torch.Size([8, 3]), Mesh(), [strided])


def test_outside_the_context_tensors_are_whole_again() -> None:
    x = values(4, 6)
    before = mapdrop.drop(x, "b c -> b c", **GIVEN)
    with shard(0, 1, 2):
        assert not torch.equal(mapdrop.drop(x, "b c -> b c", **GIVEN), before)
    with pytest.raises(ValueError, match="axis 3 is cut"), shard(3, 1, 2):
        mapdrop.drop(x, "b c -> b c", **GIVEN)
    assert torch.equal(mapdrop.drop(x, "b c -> b c", **GIVEN), before)


def model() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), SpatialDropout2d(0.5, share=2, balance=True),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), SpatialDropout2d(0.5),
        nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), DropBlock2d(0.2, 3), Dropout(0.3), nn.Flatten(),
        nn.Linear(8 * 36, 4),
    )  # fmt: skip
    return seeded(net, 7).double()


def trained(net: nn.Module, x: Tensor, held: list[dict[str, Any]]) -> tuple[Tensor, list[Tensor]]:
    """Output, and gradients of its sum of squares, where x is the part that `held` says."""
    net.zero_grad()
    with ExitStack() as stack:
        for cut in held:
            stack.enter_context(shard(**cut))
        y = net(x)
        y.square().sum().backward()
    return y.detach(), [p.grad.clone() for p in net.parameters() if p.grad is not None]


FORMS: dict[str, Callable[[nn.Module], Any]] = {
    "eager": lambda net: net,
    "compiled": lambda net: torch.compile(net, backend="aot_eager"),
    "compact": compact,
}


@pytest.mark.parametrize(
    "form", ["eager", pytest.param("compiled", marks=pytest.mark.compiler), "compact"]
)
@pytest.mark.parametrize("strided", [False, True])
def test_accumulated_gradients_are_those_of_the_whole_batch(form: str, strided: bool) -> None:
    x = values(8, 3, 6, 6).double()
    y, gradients = trained(model(), x, [])
    assert all(g.abs().sum() > 0 for g in gradients)
    total = [torch.zeros_like(g) for g in gradients]
    for rank, own in enumerate(parts(8, 2, strided)):
        came, part = trained(
            FORMS[form](model()), x[own], [{"dim": 0, "rank": rank, "ranks": 2, "strided": strided}]
        )
        assert torch.allclose(came, y[own], rtol=1e-12, atol=1e-12)
        total = [t + g for t, g in zip(total, part, strict=True)]
    for wanted, found in zip(gradients, total, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-10)


def test_accumulated_gradients_without_the_context_twin() -> None:
    x = values(8, 3, 6, 6).double()
    y, _ = trained(model(), x, [])
    came, _ = trained(model(), x[4:], [])
    assert not torch.allclose(came, y[4:], rtol=1e-3, atol=1e-3)


@pytest.mark.compiler
def test_one_compiled_model_follows_the_context() -> None:
    net, x = seeded(SpatialDropout2d(0.5), 3), values(4, 6, 3, 3)
    eager, compiled = copy.deepcopy(net), torch.compile(net, backend="aot_eager", fullgraph=True)
    for rank in (0, 1, 0):
        with shard(0, rank, 2):
            assert torch.equal(compiled(x), eager(x))


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_recomputed_layer_has_its_part(reentrant: bool) -> None:
    net, x = seeded(nn.Sequential(Dropout(0.5)), 5), values(4, 6)
    with shard(0, 1, 2):
        wanted = copy.deepcopy(net)(x)
        tracked = x.clone().requires_grad_()
        y: Any = checkpoint(net[0], tracked, use_reentrant=reentrant)
        y.sum().backward()
    assert torch.equal(y.detach(), wanted)
    assert tracked.grad is not None
    assert torch.equal(tracked.grad, torch.where(wanted == 0, 0.0, 2.0))


def test_the_gradient_s_mask_is_the_part_s_outside_the_context_too() -> None:
    x = values(4, 6).requires_grad_()
    with shard(0, 1, 2):
        y = mapdrop.drop(x, "b c -> b c", **GIVEN)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, y == 0)
    assert 0 < (y == 0).sum() < y.numel()


def test_under_vmap_an_example_s_axes_are_cut() -> None:
    x = values(3, 8, 5)
    whole = torch.func.vmap(lambda e: mapdrop.drop(e, "b c -> b c", **GIVEN))(x)
    with shard(0, 1, 2):
        mine = torch.func.vmap(lambda e: mapdrop.drop(e, "b c -> b c", **GIVEN))(x[:, 4:])
    assert torch.equal(mine, whole[:, 4:])
    assert 0 < (mine == 0).sum() < mine.numel()


# --- Large masks: more than 10**12 coins in 4,096 parts.

ROWS, COLUMNS, PARTS = 2**20, 10**6, 4096


def windows() -> Iterator[tuple[int, int]]:
    """For each part of the rows its last row, and the number of a window of 16 columns."""
    for rank in range(PARTS):
        yield (rank + 1) * ROWS // PARTS - 1, rank * 7919 % (COLUMNS // 16)


@pytest.mark.parametrize(
    ("law", "block", "every"),
    [
        (Law(0.3), None, 1),
        (Law(0.3, block=((0, 3), (1, 5))), {"r": 3, "c": 5}, 32),
    ],
    ids=["independent", "block"],
)
def test_4096_parts_of_a_trillion_coins(law: Law, block: Any, every: int) -> None:
    """The last row of each part and 16 of its columns, against the definition of single coins."""
    coins = []
    for last, left in list(windows())[::every]:
        with shard(0, last, ROWS), shard(1, left, COLUMNS // 16):
            mine = mapdrop.drop(torch.ones(1, 16), "r c -> r c", 0.3, seed=11, block=block)
        place = np.array([last]), left * 16 + np.arange(16)
        wanted = kept_at(law, (ROWS, COLUMNS), 11, 0, place)
        assert np.array_equal(mine.numpy()[0] != 0, wanted), (last, left)
        coins.append(wanted)
    assert 0.6 < np.mean(coins) < 0.8


def test_a_part_draws_its_own_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where words are made: 256 of the rows, of which 64 columns are here."""
    drawn: list[int] = []
    fast: Any = kernels.for_cpu()
    runs = fast.runs

    def counting(starts: Any, run: int, *rest: Any) -> Any:
        drawn.append(len(starts) * run)
        return runs(starts, run, *rest)

    monkeypatch.setattr(fast, "runs", counting)
    for block, words in [(None, 256 * 64), ({"r": 3, "c": 5}, 258 * 68)]:
        drawn.clear()
        with shard(0, 77, PARTS), shard(1, 100, COLUMNS // 64):
            mine = mapdrop.drop(torch.ones(256, 64), "r c -> r c", 0.3, seed=11, block=block)
        assert drawn == [words]
        assert 0.2 < np.mean(mine.numpy() == 0) < 0.4


def test_a_whole_contiguous_part_draws_none_to_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An element's coin is made where it is used, for the usual data-parallel part."""
    x = values(4, 6, 5, 7)
    whole = mapdrop.drop(values(16, 6, 5, 7), "b c h w -> b c h w", **GIVEN)
    monkeypatch.setattr(cpu, "drawn", None)
    with shard(0, 2, 4):
        mine = mapdrop.drop(x, "b c h w -> b c h w", **GIVEN)
    assert torch.equal(mine == 0, whole[8:12] == 0)


# --- What is wrong is said.


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"rank": 2, "ranks": 2}, ValueError, "rank is the number of the part.*2 of 2"),
        ({"rank": -1, "ranks": 2}, ValueError, "from 0 to ranks - 1"),
        ({"rank": 0.0, "ranks": 2}, TypeError, "rank is a whole number"),
        ({"rank": 0, "ranks": True}, TypeError, "ranks is a whole number"),
        ({"rank": 0, "ranks": 1, "size": -1}, ValueError, "size"),
    ],
)
def test_wrong_parts(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says), shard(0, **arguments):
        pass


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        ({"dim": 2, "rank": 0, "ranks": 2}, "axis 2 is cut"),
        ({"dim": 0, "rank": 1, "ranks": 4, "size": 10}, "has 3 indices, axis 0 .* has 4"),
        ({"dim": 0, "rank": 3, "ranks": 4, "size": 10, "strided": True}, "has 2 indices"),
    ],
)
@pytest.mark.parametrize("p", [0.0, 0.5])
def test_a_tensor_that_is_no_such_part(cut: dict[str, Any], says: str, p: float) -> None:
    with shard(**cut), pytest.raises(ValueError, match=says):
        mapdrop.drop(torch.ones(4, 6), "b c -> b c", p)

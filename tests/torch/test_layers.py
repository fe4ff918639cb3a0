"""The layers: what they drop, what they print, and what they say to a wrong input."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mapdrop
from mapdrop import PatternError
from mapdrop.torch import (
    Drop,
    DropBlock1d,
    DropBlock2d,
    DropBlock3d,
    Dropout,
    DropPath,
    SpatialDropout1d,
    SpatialDropout2d,
    SpatialDropout3d,
    seeded,
)
from tests.checks import check_balanced

SPATIAL = {1: SpatialDropout1d, 2: SpatialDropout2d, 3: SpatialDropout3d}
BLOCK = {1: DropBlock1d, 2: DropBlock2d, 3: DropBlock3d}
SPACE = {1: (6,), 2: (6, 5), 3: (6, 5, 4)}
LAYERS: dict[str, tuple[Callable[[], Drop], tuple[int, ...], tuple[int, ...]]] = {
    # name: layer, shape, axes with coins of their own
    "Drop": (lambda: Drop("b c h w -> c w", 0.5), (8, 16, 3, 9), (1, 3)),
    "Dropout": (lambda: Dropout(0.5), (8, 16, 3), (0, 1, 2)),
    "DropPath": (lambda: DropPath(0.5), (64, 3, 2), (0,)),
    "DropPath, balance": (lambda: DropPath(0.5, balance=True), (64, 3, 2), (0,)),
    "SpatialDropout1d": (lambda: SpatialDropout1d(0.5), (8, 16, 6), (0, 1)),
    "SpatialDropout2d": (lambda: SpatialDropout2d(0.5), (8, 16, 6, 5), (0, 1)),
    "SpatialDropout3d": (lambda: SpatialDropout3d(0.5), (8, 16, 6, 5, 4), (0, 1)),
    "channels last": (lambda: SpatialDropout2d(0.5, "channels_last"), (8, 6, 5, 16), (0, 3)),
}
ALL = [pytest.param(*case, id=name) for name, case in LAYERS.items()]


@pytest.mark.parametrize(("make", "shape", "own"), ALL)
def test_training_drops_along_the_right_axes(
    make: Callable[[], Drop], shape: tuple[int, ...], own: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer = make()
    y = layer(torch.ones(shape))
    others = tuple(a for a in range(len(shape)) if a not in own)
    # Shared: nothing changes along the other axes. Not shared: both kinds occur along each own one.
    reduced = y.amax(others, keepdim=True) if others else y
    assert torch.equal(reduced.expand_as(y), y)
    assert set(y.unique().tolist()) == {0.0, 2.0}
    for axis in own:
        assert (y != y.narrow(axis, 0, 1)).any()
    assert not torch.equal(layer(torch.ones(shape)), y)


@pytest.mark.parametrize(("make", "shape", "own"), ALL)
def test_eval_and_p_0_return_the_input_itself(
    make: Callable[[], Drop], shape: tuple[int, ...], own: tuple[int, ...]
) -> None:
    x = torch.ones(shape)
    layer = make()
    assert layer.eval()(x) is x
    layer.train().p = 0.0
    state = torch.get_rng_state()
    assert layer(x) is x
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("make", "shape", "own"), ALL)
def test_no_state_and_copies_work(
    make: Callable[[], Drop], shape: tuple[int, ...], own: tuple[int, ...]
) -> None:
    layer = make()
    assert list(layer.state_dict()) == []
    x = torch.ones(shape)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.manual_seed(1)
        expected = layer(x)
        torch.manual_seed(1)
        assert torch.equal(twin(x), expected)
        assert repr(twin) == repr(layer)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("family", [SPATIAL, BLOCK], ids=["SpatialDropout", "DropBlock"])
def test_both_data_formats_have_one_mask(dims: int, family: dict[int, Any]) -> None:
    first = torch.randn(4, 10, *SPACE[dims])
    last = first.movedim(1, -1).contiguous()
    torch.manual_seed(4)
    y = family[dims](0.4)(first)
    torch.manual_seed(4)
    z = family[dims](0.4, data_format="channels_last")(last)
    assert torch.equal(y.movedim(1, -1), z)
    assert 0 < (y == 0).sum() < y.numel()


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("family", ["SpatialDropout", "DropBlock"])
@pytest.mark.parametrize("rank", [2, 3, 4, 5, 6])
def test_a_wrong_rank_says_which_layer_to_use(dims: int, family: str, rank: int) -> None:
    layer = (SPATIAL if family == "SpatialDropout" else BLOCK)[dims]()
    x = torch.ones((2,) * rank)
    if rank == dims + 2:
        assert layer(x).shape == x.shape
        return
    with pytest.raises(PatternError, match=f"{family}{dims}d takes {dims + 2} axes") as caught:
        layer(x)
    if 3 <= rank <= 5:
        assert f"{family}{rank - 2}d for a batch with {rank} axes" in str(caught.value)
    assert str(tuple(x.shape)) in str(caught.value)


@pytest.mark.parametrize("batch", [8, 7, 3, 1])
def test_share_gives_samples_in_a_row_one_mask(batch: int) -> None:
    torch.manual_seed(0)
    y = SpatialDropout2d(0.5, share=3)(torch.ones(batch, 64, 2, 2))[:, :, 0, 0]
    for i in range(batch):
        assert torch.equal(y[i], y[i - i % 3])
    for i in range(3, batch, 3):
        assert not torch.equal(y[i], y[i - 3])


def test_share_agrees_with_the_mask_object_where_it_divides() -> None:
    x = torch.randn(8, 16, 3, 3)
    net = seeded(nn.Sequential(SpatialDropout2d(0.5, share=4, balance=True)), 3)
    mask = mapdrop.mask("(m 4) c h w -> m c", x.shape, 0.5, seed=3, stream="0", step=1, balance="m")
    assert torch.equal(net(x), mask.apply(x))


def test_balance_keeps_every_map_equally_often() -> None:
    torch.manual_seed(0)
    y = SpatialDropout2d(0.5, balance=True)(torch.ones(8, 100, 1, 1))
    assert set((y != 0).sum(0).flatten().tolist()) == {4}
    plain = SpatialDropout2d(0.5)(torch.ones(8, 100, 1, 1))
    assert len(set((plain != 0).sum(0).flatten().tolist())) > 1


def test_a_balanced_path_keeps_floor_or_ceil_and_each_sample_at_the_rate() -> None:
    torch.manual_seed(0)
    check_balanced(lambda x: DropPath(0.3, balance=True)(torch.from_numpy(x)).numpy())
    with pytest.raises(AssertionError, match="kept of"):
        check_balanced(lambda x: DropPath(0.3)(torch.from_numpy(x)).numpy())


def test_repr_of_a_balanced_path() -> None:
    assert repr(DropPath(0.3, balance=True)) == "DropPath('b ... -> b', p=0.3, balance='b')"


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_dropblock_drops_whole_blocks_at_the_rate_it_was_told(dims: int) -> None:
    torch.manual_seed(0)
    layer = BLOCK[dims](0.25, 3)
    y = layer(torch.ones(300, 8, *SPACE[dims]))
    dropped = (y == 0).float().mean().item()
    assert abs(dropped - 0.25) < 0.02  # About five standard deviations of what a block covers.
    pool = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}[dims](3, stride=1)
    whole = (pool(y) == 0).float()  # 1 where a whole block starts that is dropped.
    covered = pool(nn.functional.pad(whole, (2, 2) * dims)) == 1
    assert torch.equal(covered, y == 0)


def test_inplace_layers_write_their_input() -> None:
    for layer in (Dropout(0.5, inplace=True), SpatialDropout2d(0.5, inplace=True)):
        x = torch.ones(2, 8, 3, 3)
        assert layer(x).data_ptr() == x.data_ptr()
        assert (x == 0).any()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "0.5", True, None])
def test_a_wrong_rate_is_refused_when_the_layer_is_made(p: object) -> None:
    with pytest.raises((TypeError, ValueError), match="p is the fraction to drop"):
        SpatialDropout2d(p)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpatialDropout2d(data_format="NCHW"), "data_format is one of"),
        (lambda: SpatialDropout2d(share=0), "share is how many samples"),
        (lambda: SpatialDropout2d(share=True), "share is how many samples"),
        (lambda: DropBlock2d(block_size=(3, 3, 3)), "block_size is one size or 2"),
        (lambda: Drop("b c"), "one '->'"),
    ],
    ids=["format", "share 0", "share True", "block sizes", "pattern"],
)
def test_wrong_arguments_are_refused_when_the_layer_is_made(
    make: Callable[[], Drop], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_repr_is_the_call() -> None:
    layer = Drop("b (g k) h w -> b g", 0.25, exact="g", scale=None, inplace=True, k=4)
    assert repr(layer) == (
        "Drop('b (g k) h w -> b g', p=0.25, exact='g', scale=None, k=4, inplace=True)"
    )
    assert repr(eval(repr(layer))) == repr(layer)


def test_every_layer_matches_its_mask() -> None:
    """Seeded, each layer is `mapdrop.mask` of its pattern: the NumPy specification's bits."""
    x = torch.randn(6, 4, 5, 5)
    layers = [SpatialDropout2d(0.4), Dropout(0.3), DropBlock2d(0.3, 2), DropPath(0.5)]
    for layer in layers:
        block = dict(layer.block) or None
        mask = mapdrop.mask(
            layer.pattern, x.shape, layer.p, seed=11, stream="0", step=1, block=block
        )
        got = seeded(nn.Sequential(layer), 11)(x)
        kept = np.asarray(got.numpy() != 0)
        assert torch.equal(got, mask.apply(x))
        assert 0 < kept.sum() < kept.size


def test_frameworks_own_layers_leave_the_same_state_dict() -> None:
    def net(drop: Callable[[], nn.Module]) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), drop(), nn.Conv2d(4, 2, 3))

    ours, theirs = net(SpatialDropout2d), net(nn.Dropout2d)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    with_counts = [*seeded(ours, 1).state_dict()]
    assert with_counts == ["0.weight", "0.bias", "1.mapdrop_step", "2.weight", "2.bias"]


def test_equal_to_dropout2d_given_its_mask() -> None:
    """Against an operation nobody here wrote: given torch's mask, the values are torch's."""
    torch.manual_seed(0)
    x = torch.randn(8, 16, 5, 5)
    theirs = nn.Dropout2d(0.25)(x)
    kept = (theirs != 0).any(dim=(2, 3)).numpy()
    ours = mapdrop.mask("b c h w -> b c", x.shape, 0.25, seed=0)
    same = mapdrop.Mask(ours.binding, 0.25, kept, ours.scale)
    assert torch.equal(same.apply(x), theirs)


def test_training_with_autocast_keeps_the_dtype_that_comes() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), SpatialDropout2d(0.5), nn.Conv2d(8, 2, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y: Tensor = net(torch.randn(2, 3, 8, 8))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    grad = net[0].weight.grad
    assert isinstance(grad, Tensor)
    assert grad.dtype == torch.float32
    assert grad.abs().sum() > 0


@pytest.mark.parametrize(
    "make", [lambda: Dropout(0.5), lambda: DropPath(0.5), lambda: Drop("b c -> c")]
)
def test_tools_that_switch_dropout_on_find_it(make: Callable[[], nn.Module]) -> None:
    net = nn.Sequential(nn.Linear(64, 64), make(), nn.Linear(64, 64)).eval()
    x = torch.ones(8, 64)
    assert torch.equal(net(x), net(x))
    for module in net.modules():  # As Monte-Carlo wrappers do it.
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.train()
    samples = torch.stack([net(x) for _ in range(20)])
    assert samples.var(0).mean() > 0

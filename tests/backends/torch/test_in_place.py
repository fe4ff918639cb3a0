"""What must not be written in place is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import mapdrop
from mapdrop.torch import Drop, DropBlock2d, Dropout, DropPath, SpatialDropout2d

LAYERS: dict[str, Callable[[], Drop]] = {
    "Drop": lambda: Drop("b c h w -> c", inplace=True),
    "Dropout": lambda: Dropout(inplace=True),
    "DropPath": lambda: DropPath(0.5, inplace=True),
    "SpatialDropout2d": lambda: SpatialDropout2d(inplace=True),
    "DropBlock2d": lambda: DropBlock2d(0.5, 2, inplace=True),
    "sample": lambda: DropPath(0.5, scale="sample", inplace=True),
}
every = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
SHAPE = (6, 4, 3, 3)


def leaf() -> tuple[Tensor, Tensor]:
    x = torch.ones(SHAPE, requires_grad=True)
    return x, x


def view_of_a_leaf() -> tuple[Tensor, Tensor]:
    x = torch.ones(SHAPE, requires_grad=True)
    return x.view(SHAPE), x


def one_of_several_views() -> tuple[Tensor, Tensor]:
    x = torch.ones(12, 4, 3, 3, requires_grad=True) * 1
    return x.chunk(2)[0], x


def view_without_gradients() -> tuple[Tensor, Tensor]:
    x = torch.ones(SHAPE, requires_grad=True) * 1
    with torch.no_grad():
        return x[:], x


def expanded() -> tuple[Tensor, Tensor]:
    x = torch.ones(1, 4, 3, 3)
    return x.expand(SHAPE), x


def sliding() -> tuple[Tensor, Tensor]:
    x = torch.ones(400)
    return x.as_strided(SHAPE, (18, 9, 2, 1)), x


REFUSED = (
    leaf, view_of_a_leaf, one_of_several_views, view_without_gradients, expanded, sliding,
)  # fmt: skip


@every
@pytest.mark.parametrize("made", REFUSED, ids=lambda made: made.__name__)
def test_it_raises_before_it_writes(
    make: Callable[[], Drop], made: Callable[[], tuple[Tensor, Tensor]]
) -> None:
    x, memory = made()
    with pytest.raises(RuntimeError, match=r"leaf|[Vv]iew|in one place|memory"):
        make()(x)
    assert torch.equal(memory.detach(), torch.ones_like(memory))


@every
@pytest.mark.parametrize("tracked", [True, False], ids=["gradient", "no gradient"])
@pytest.mark.parametrize(
    "kind", ["dense", "channels last", "every second", "turned", "one of many"]
)
def test_what_may_be_written_is(make: Callable[[], Drop], kind: str, tracked: bool) -> None:
    memory = torch.randn(12, 8, 3, 3, requires_grad=tracked) * 1
    x = {
        "dense": lambda m: m[:6, :4].clone(),
        "channels last": lambda m: m[:6, :4].contiguous(memory_format=torch.channels_last),
        "every second": lambda m: m[::2, ::2],
        "turned": lambda m: m[:6, :4].transpose(2, 3),
        "one of many": lambda m: m[3:9, 2:6],
    }[kind](memory)
    torch.manual_seed(3)
    wanted = LAYERS[next(n for n, made in LAYERS.items() if made is make)]()
    wanted.inplace = False
    other = wanted(x.detach().clone(memory_format=torch.preserve_format))
    torch.manual_seed(3)
    came = make()(x)
    assert came.data_ptr() == x.data_ptr()
    assert torch.equal(came, other)
    assert 0 < (came == 0).sum() < came.numel()


@every
@pytest.mark.parametrize("kind", ["whole", "every second", "turned", "one of many"])
def test_gradients_are_those_of_a_copy(make: Callable[[], Drop], kind: str) -> None:
    view: Callable[[Tensor], Tensor] = {
        "whole": lambda m: m,
        "every second": lambda m: m[::2, ::2],
        "turned": lambda m: m.transpose(2, 3),
        "one of many": lambda m: m[3:9, 2:6],
    }[kind]
    base = torch.randn(12, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    found = []
    for inplace in (True, False):
        torch.manual_seed(3)
        memory, layer = base * 1, make()
        layer.inplace = inplace
        y = layer(view(memory))
        came = view(memory) if inplace else y  # What was written is seen by all views.
        (first,) = torch.autograd.grad(came.pow(3).sum(), base, create_graph=True)
        (second,) = torch.autograd.grad(first.pow(2).sum(), base)
        found.append((first, second))
    for ours, wanted in zip(*found, strict=True):
        assert torch.equal(ours, wanted)
        assert 0 < (view(ours) == 0).sum() < view(ours).numel()


def test_a_parameter_is_written_without_gradients() -> None:
    x = torch.nn.Parameter(torch.ones(SHAPE))
    with torch.no_grad():
        Dropout(inplace=True)(x)
    assert x.is_leaf
    assert x.requires_grad
    assert x._version == 1
    assert sorted(set(x.flatten().tolist())) == [0.0, 2.0]


def test_what_was_written_is_seen_by_what_was_kept_for_backward() -> None:
    x = torch.randn(SHAPE)
    y = torch.ones(SHAPE, requires_grad=True) * x  # Keeps x.
    Dropout(inplace=True)(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_pattern_that_does_not_fit_leaves_the_tensor_as_it_was() -> None:
    x = torch.ones(2, 3, requires_grad=True) * 1
    before = x.grad_fn
    with pytest.raises(mapdrop.PatternError):
        mapdrop.drop(x, "b c h -> b c", 0.5, inplace=True)
    assert x.grad_fn is before
    assert x._version == 0
    assert torch.equal(x, torch.ones(2, 3))

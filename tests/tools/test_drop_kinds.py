"""Each kind of dropout says the same by its patterns, its axes and its layers."""

from __future__ import annotations

import numpy as np
import pytest

import mapdrop
from mapdrop.tools.drop_kinds import DROP_KINDS, DropKind
from tests.conftest import framework

KINDS = pytest.mark.parametrize("kind", DROP_KINDS.values(), ids=DROP_KINDS)
SIZES = {2: (3, 4), 3: (3, 5, 4), 4: (3, 5, 6, 4), 5: (3, 5, 6, 2, 4)}


def shared(mask: mapdrop.Mask) -> tuple[int, ...]:
    """The size of the mask along each axis of the array, 1 where its values share a coin."""
    return tuple(1 if coin is None else size for axis in mask.binding.axes for size, coin in axis)


@KINDS
@pytest.mark.parametrize("size", SIZES.values(), ids=str)
def test_patterns_share_coins_along_the_other_axes(kind: DropKind, size: tuple[int, ...]) -> None:
    if kind.block > 1 and len(size) != 4:
        return
    block = {"h": 3, "w": 3} if kind.block > 1 else {}
    last = mapdrop.mask(kind.last, size, kind.p, seed=1, block=block)
    assert shared(last) == kind.mask_shape(size)
    first = mapdrop.mask(kind.first, (size[0], size[-1], *size[1:-1]), kind.p, seed=1, block=block)
    moved = kind.mask_shape(size)
    assert shared(first) == (moved[0], moved[-1], *moved[1:-1])


@pytest.mark.parametrize("kind", [k for k in DROP_KINDS.values() if k.layer], ids=lambda k: k.name)
def test_layers_have_the_pattern_the_rate_and_the_block(kind: DropKind) -> None:
    torch = framework("torch")
    size = (4, 3, 16, 16)
    layers = framework("mapdrop.torch")
    layer = kind.make_layer(layers, "2d")
    y = layers.seeded(torch.nn.Sequential(layer), 5)(torch.ones(size))
    mask = mapdrop.mask(kind.first, size, kind.p, seed=5, stream="0", step=1, **kind.options)
    np.testing.assert_array_equal(y.numpy(), mask.apply(np.ones(size, np.float32)))


def test_a_layer_may_have_another_rate_and_block() -> None:
    layer = DROP_KINDS["block"].make_layer(framework("mapdrop.torch"), "1d", 0.3, block_size=3)
    assert "0.3" in repr(layer)
    assert "3" in repr(layer)
    assert type(layer).__name__ == "DropBlock1d"

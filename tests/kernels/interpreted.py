"""The GPU kernels in Triton's interpreter, against NumPy's bits; test_gpu.py runs these."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mapdrop
from mapdrop.backends.torch import eager_cpu
from mapdrop.backends.torch import gpu as on_gpu
from mapdrop.backends.torch.text import bound_to
from mapdrop.kernels import gpu
from mapdrop.torch import SpatialDropout2d, seeded, shard

assert os.environ["TRITON_INTERPRET"] == "1"

# The interpreter is NumPy, which tells of infinities.
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
KINDS: dict[str, dict[str, Any]] = {
    "element": {"pattern": "b c h w -> b c h w"},
    "element, crosswise": {"pattern": "b c h w -> b h w c"},
    "spatial": {"pattern": "b c h w -> b c"},
    "pixels": {"pattern": "b c h w -> b h w"},
    "path": {"pattern": "b ... -> b"},
    "all at once": {"pattern": "b c h w ->"},
    "groups": {"pattern": "b (g k) h w -> b g", "k": 2},
    "shared": {"pattern": "(m n) c h w -> m c", "n": 3},
    "exact": {"pattern": "b c h w -> b c", "exact": "c"},
    "balanced": {"pattern": "(m n) c h w -> m c", "n": 3, "balance": "m"},
    "block": {"pattern": "b c h w -> b h w c", "block": {"h": 3, "w": 4}},
    "block, full": {"pattern": "b c h w -> b c h w", "block": {"h": 2, "w": 9}, "region": "full"},
    "block of one axis": {"pattern": "b c h w -> b w", "block": {"w": 3}},
    "stream and step": {"pattern": "b c h w -> b c h w", "stream": "a", "step": 2**40 + 5},
    "spatial, stream and step": {"pattern": "b c h w -> b c", "stream": "b", "step": 3},
    "unscaled": {"pattern": "b c h w -> b c", "scale": None},
}
KERNELS = {"element": ["elements"], "stream and step": ["elements"], "exact": ["apply"]}
SHAPE = (6, 4, 5, 7)


def watched(name: str, made: list[str]) -> Callable[..., Any]:
    real = getattr(gpu, name)

    def call(*args: Any) -> Any:
        made.append(name)
        return real(*args)

    return call


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which kernels were called; the CPU's tensors stand for a GPU's."""
    made: list[str] = []
    monkeypatch.setattr(eager_cpu, "takes", lambda x: False)
    monkeypatch.setattr(
        on_gpu,
        "fits",
        lambda x, bound: bound.counted_axes is None and x.numel() and x.dtype in FLOATS,
    )
    for name in ("elements", "drawn", "cleared", "apply"):
        monkeypatch.setattr(gpu, name, watched(name, made))
    return made


def values(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def bits(x: Tensor) -> Any:
    """As integers: -0 is not 0, and every NaN is one."""
    quiet = torch.where(x.isnan(), torch.full_like(x, float("nan")), x)
    return quiet.contiguous().view(torch.int32 if x.dtype == torch.float32 else torch.int16).numpy()


def expected(x: Tensor, p: float, options: dict[str, Any], seed: int = 7) -> Tensor:
    """By NumPy's path, which is held against the specification elsewhere."""
    return mapdrop.mask(shape=tuple(x.shape), p=p, seed=seed, **options).apply(x)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_bits_of_the_specification(
    kind: str, dtype: torch.dtype, calls: list[str]
) -> None:
    x, options = values(SHAPE, dtype), KINDS[kind]
    y = mapdrop.drop(x, p=0.37, seed=7, **options)
    assert calls == KERNELS.get(kind, calls)
    assert calls[-1] in ("elements", "apply")
    calls.clear()
    np.testing.assert_array_equal(bits(y), bits(expected(x, 0.37, options)))
    assert calls == []
    # Another seed's is something else (one of 40: one coin for all may fall alike), and so is x.
    others = [bits(expected(x, 0.37, options, seed)) for seed in range(8, 48)]
    assert any((bits(y) != other).any() for other in others)
    assert (bits(y) != bits(x)).any()


LAYOUTS: dict[str, Any] = {
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.permute(3, 1, 0, 2),
    "every second": lambda x: x[:, :, ::2],
    "backwards and cut": lambda x: x.flip(1)[1:, :, 1:],
    "expanded": lambda x: x[:1].expand(6, -1, -1, -1),
    "one value": lambda x: x[:1, :1, :1, :1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["element", "spatial", "block", "pixels"])
def test_any_strides(kind: str, layout: str, calls: list[str]) -> None:
    x, options = LAYOUTS[layout](values(SHAPE)), KINDS[kind]
    y = mapdrop.drop(x, p=0.5, seed=3, **options)
    assert calls
    assert y.stride() == torch.empty_like(x).stride()
    np.testing.assert_array_equal(bits(y), bits(expected(x, 0.5, options, 3)))


def test_more_loops_than_the_kernels_have_are_left_to_others(calls: list[str]) -> None:
    x = values((2, 3, 2, 3, 2, 3, 2, 3))
    options: dict[str, Any] = {"pattern": "a b c d e f g h -> a c e g"}
    y = mapdrop.drop(x, p=0.5, seed=3, **options)
    assert calls == []
    np.testing.assert_array_equal(bits(y), bits(expected(x, 0.5, options, 3)))


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: str(dtype)[6:])
def test_what_is_dropped_is_zero_whatever_it_was(dtype: torch.dtype) -> None:
    special = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-7, 65504.0])
    x = special.repeat(400).reshape(60, 40).to(dtype)
    for p in (0.5, 1.0):
        y = mapdrop.drop(x, "b c -> b c", p, seed=1)
        np.testing.assert_array_equal(bits(y), bits(expected(x, p, {"pattern": "b c -> b c"}, 1)))
    assert (bits(y) == 0).all()


@pytest.mark.parametrize("p", [1e-6, 0.1, 1 - 1e-9])
def test_rates(p: float) -> None:
    x = values((64, 65))
    y = mapdrop.drop(x, "b c -> b c", p, seed=2)
    np.testing.assert_array_equal(bits(y), bits(expected(x, p, {"pattern": "b c -> b c"}, 2)))


def test_bfloat16_is_rounded_to_nearest_and_even() -> None:
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    y = mapdrop.drop(every, "b -> b", 0.3, seed=2)
    scaled = (every.float() * float(np.float32(1 / 0.7))).to(torch.bfloat16)
    kept = torch.from_numpy(mapdrop.mask("b -> b", (2**16,), 0.3, seed=2).coins)
    np.testing.assert_array_equal(bits(y), bits(torch.where(kept, scaled, 0.0)))


@pytest.mark.parametrize("kind", KINDS)
def test_in_place_is_the_same(kind: str, calls: list[str]) -> None:
    x, options = values(SHAPE), KINDS[kind]
    written = x.clone()
    assert mapdrop.drop(written, p=0.4, seed=5, inplace=True, **options) is written
    assert calls
    np.testing.assert_array_equal(bits(written), bits(expected(x, 0.4, options, 5)))
    part = torch.zeros(6, 4, 5, 14)[..., ::2].copy_(x)  # Not one piece of memory.
    mapdrop.drop(part, p=0.4, seed=5, inplace=True, **options)
    np.testing.assert_array_equal(bits(part), bits(written))


@pytest.mark.parametrize("kind", ["element", "spatial", "block", "exact"])
def test_the_gradient_is_dropped_alike(kind: str, calls: list[str]) -> None:
    x, options = values(SHAPE).requires_grad_(), KINDS[kind]
    weight = values(SHAPE).flip(0)
    (mapdrop.drop(x, p=0.4, seed=5, **options) * weight).sum().backward()
    assert calls.count(calls[-1]) == 2
    assert x.grad is not None
    np.testing.assert_array_equal(bits(x.grad), bits(expected(weight, 0.4, options, 5)))


@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("size", [40, 2**33])
def test_parts_draw_the_wholes_coins(start: int, size: int, calls: list[str]) -> None:
    """Also of an array whose coins are numbered beyond 2**32, of which only the part is there."""
    ranks = size // 4
    rank = start if size == 40 else ranks - 1 - start
    x = values((4, 3))
    with shard(0, rank, ranks):
        y = mapdrop.drop(x, "b c -> b c", 0.5, seed=11)
    assert calls == ["elements"]
    number = 12 * rank + np.arange(12, dtype=np.uint64)
    words = mapdrop.spec.words.words(number, 11, 0)
    kept = torch.from_numpy(words >= mapdrop.spec.law.threshold(0.5)).reshape(4, 3)
    np.testing.assert_array_equal(bits(y), bits(torch.where(kept, 2 * x, 0.0)))


def test_strided_parts_and_blocks_of_parts() -> None:
    x = values((8, 3, 6, 6))
    for options in (KINDS["spatial"], KINDS["block"]):
        whole = mapdrop.drop(x, p=0.3, seed=4, **options)
        for rank in range(2):
            with shard(0, rank, 2, strided=True):
                mine = mapdrop.drop(x[rank::2], p=0.3, seed=4, **options)
            np.testing.assert_array_equal(bits(mine), bits(whole[rank::2]))


def test_a_last_group_may_be_smaller(calls: list[str]) -> None:
    x = values((7, 4, 3, 3))
    layer = seeded(SpatialDropout2d(0.5, share=3), 5)
    y = layer(x)
    assert calls == ["drawn", "apply"]
    groups = (y != 0).all(dim=(2, 3))
    assert (groups[0] == groups[2]).all()
    assert (groups[3] == groups[5]).all()
    assert (groups[6] != groups[5]).any()


def test_the_seed_may_be_a_tensor_of_any_bits() -> None:
    x = values((9, 9))
    for seed in (0, 1, 2**63 + 12345, 2**64 - 1):
        tensor = torch.tensor(np.array([seed], np.uint64).view(np.int64))
        for given in (seed, tensor):
            y = mapdrop.drop(x, "b c -> b c", 0.5, seed=given)
            np.testing.assert_array_equal(
                bits(y), bits(expected(x, 0.5, {"pattern": "b c -> b c"}, seed))
            )


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1024, 2100])
def test_coins_as_bits(count: int) -> None:
    bound = bound_to((count,), "n -> n", 0.3, "")
    seed, stream = torch.tensor([7, 2**40 + 1]), "a"
    made = on_gpu.bits(seed, stream, bound)  # type: ignore[arg-type]
    assert made.numel() == -(-count // 32)
    kept = np.unpackbits(made.numpy().view(np.uint8), bitorder="little")[:count]
    wanted = mapdrop.mask("n -> n", (count,), 0.3, seed=7, stream=stream, step=2**40 + 1).coins
    np.testing.assert_array_equal(kept.astype(bool), wanted)
    assert count < 31 or 0 < kept.mean() < 1

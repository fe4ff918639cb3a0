"""Some indices of an axis are dropped as they are in the whole array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import mapdrop
from mapdrop.backends import cpu
from mapdrop.backends.torch.autodiff import dropped_part
from mapdrop.backends.torch.seeds import seed_tensor
from mapdrop.backends.torch.sharding import held
from mapdrop.spec.local_spec import bound_to_rows
from mapdrop.spec.mask_spec import mask_spec
from mapdrop.torch import shard

SHAPE = (6, 8, 5)
DROPS: dict[str, tuple[str, dict[str, Any]]] = {
    "values": ("b c t -> b c t", {}),
    "maps": ("b c t -> b c", {}),
    "one for the batch": ("b c t -> c t", {}),
    "groups": ("b (g k) t -> b g", {"sizes": (("k", 2),)}),
    "groups of samples": ("(m s) c t -> m c", {"sizes": (("s", 3),)}),
    "exact": ("b c t -> b c", {"exact": "c"}),
    "balanced over the batch": ("b c t -> b c", {"balance": "b"}),
    "blocks": ("b c t -> b c t", {"block": (("t", 3),)}),
    "counted": ("b c t -> b c t", {"scale": "batch"}),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rows", [[0, 1, 2], [1, 4], [5], []], ids=str)
@pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)
def test_a_part_is_dropped_as_in_the_whole(drop: Any, rows: list[int], dtype: torch.dtype) -> None:
    (pattern, options), index = drop, torch.tensor(rows, dtype=torch.int64)
    x = (torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) + 1).to(dtype)
    spec = mask_spec(pattern, 0.5, **options)
    given = {k: v for k, v in options.items() if k != "sizes"} | dict(options.get("sizes", ()))
    given = {k: dict(v) if k == "block" else v for k, v in given.items()}
    for shards in (False, True):
        with shard(0, 1, 3) if shards else shard(2, 0, 1):
            whole = mapdrop.drop(x, pattern, 0.5, seed=7, **given)
            bound = bound_to_rows(spec, SHAPE, held(3), 0, np.array(rows, np.int64))
        part = x.index_select(0, index).requires_grad_()
        seed = seed_tensor(x, 7, 0)
        found = dropped_part(part, seed, None, bound)
        assert torch.equal(found, whole.index_select(0, index))
        assert 0 < int((whole != 0).sum()) < whole.numel()
        (gradient,) = torch.autograd.grad(found.sum(), part)
        assert torch.equal(gradient != 0, found != 0)
        torch.testing.assert_close(gradient * part, found, rtol=1e-2, atol=0)
        some = torch.stack([torch.ones_like(part), 2 * torch.ones_like(part)])
        again = dropped_part(part, seed, None, bound)
        (batch,) = torch.autograd.grad(again, part, some, is_grads_batched=True)
        assert torch.equal(batch, torch.stack([gradient, 2 * gradient]))


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The masks that are kept in memory."""
    made: list[Any] = []
    drawn = cpu.drawn

    def noted(*given: Any) -> Any:
        made.append(drawn(*given))
        return made[-1]

    monkeypatch.setattr(cpu, "drawn", noted)
    return made


sizes = pytest.mark.parametrize(("size", "stored"), [(128, 0), (127, 1), (32, 1)])
"""The size of the third axis, and how many masks are stored: none for long runs of 4 n coins."""


@sizes
def test_long_runs_of_coins_need_no_mask(size: int, stored: int, masks: list[Any]) -> None:
    x = torch.rand(6, 33, size, generator=torch.Generator().manual_seed(0)) + 1
    whole = mapdrop.drop(x, "b t c -> b t c", 0.3, seed=7)
    rows = np.array([0, 3, 5])
    bound = bound_to_rows(mask_spec("b t c -> b t c", 0.3), tuple(x.shape), (), 0, rows)
    found = dropped_part(x[rows], seed_tensor(x, 7, 0), None, bound)
    assert torch.equal(found, whole[rows])
    assert 0 < int((found == 0).sum()) < found.numel()
    assert len(masks) == stored


@sizes
@pytest.mark.parametrize("inplace", [False, True])
def test_long_runs_of_a_shard(size: int, stored: int, inplace: bool, masks: list[Any]) -> None:
    x = torch.rand(6, 33, size, generator=torch.Generator().manual_seed(0)) + 1
    whole = mapdrop.drop(x, "b t c -> b t c", 0.3, seed=7)
    part = x[1::2].clone()
    with shard(0, 1, 2, strided=True):
        found = mapdrop.drop(part, "b t c -> b t c", 0.3, seed=7, inplace=inplace)
    assert torch.equal(found, whole[1::2])
    assert (found.data_ptr() == part.data_ptr()) is inplace
    assert len(masks) == stored


def test_long_values_in_another_order_than_their_coins(masks: list[Any]) -> None:
    """Where samples or positions share coins, there are no runs to drop one by one."""
    x = torch.rand(8, 64, 128, generator=torch.Generator().manual_seed(0)) + 1
    for pattern in ("b (n k) d -> b n d", "(b k) n d -> b n d"):
        whole = mapdrop.drop(x, pattern, 0.3, seed=7, k=2)
        masks.clear()
        with shard(0, 1, 2):
            found = mapdrop.drop(x[4:], pattern, 0.3, seed=7, k=2)
        assert torch.equal(found, whole[4:])
        assert 0 < int((found == 0).sum()) < found.numel()
        assert len(masks) == 1

"""Gradients: the mask made again from the seed, to any order and under every transform."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import mapdrop
from mapdrop.torch import Dropout, SpatialDropout2d, seeded

PATTERNS = ["b c h w -> b c", "b c h w -> b h w c", "b c h w -> b", "b c h w -> c w"]


def mask_of(x: Tensor, pattern: str, p: float, **options: object) -> Tensor:
    """What kept values are multiplied by, as the mask object says: an array of x's shape."""
    made = mapdrop.mask(pattern, x.shape, p, **options)  # type: ignore[arg-type]
    return made.apply(torch.ones(x.shape, dtype=x.dtype))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_gradient_is_the_mask_times_the_scale(pattern: str) -> None:
    x = torch.randn(4, 6, 5, 3, requires_grad=True)
    weight = torch.randn(4, 6, 5, 3)
    (mapdrop.drop(x, pattern, 0.3, seed=5) * weight).sum().backward()
    expected = mask_of(x, pattern, 0.3, seed=5) * weight
    assert x.grad is not None
    assert torch.equal(x.grad, expected)
    assert 0 < (expected == 0).sum() < expected.numel()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_gradcheck_to_the_second_order(pattern: str) -> None:
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)

    def cubed(z: Tensor) -> Tensor:
        return mapdrop.drop(z, pattern, 0.4, seed=9) ** 3

    assert torch.autograd.gradcheck(cubed, (x,))
    assert torch.autograd.gradgradcheck(cubed, (x,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("pattern", "options"),
    [*((pattern, {}) for pattern in PATTERNS), ("b c h w -> b", {"balance": "b"})],
)
def test_a_batch_of_gradients(pattern: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    """As `torch.autograd.functional.jacobian(..., vectorize=True)` computes them together."""
    x = torch.randn(4, 6, 5, 3).to(dtype).requires_grad_()
    y: Tensor = mapdrop.drop(x, pattern, 0.3, seed=5, **options)
    some = torch.randn(3, *x.shape).to(dtype)
    (found,) = torch.autograd.grad(y, x, some, retain_graph=True, is_grads_batched=True)
    each = [torch.autograd.grad(y, x, one, retain_graph=True)[0] for one in some]
    assert torch.equal(found, torch.stack(each))
    assert 0 < (found == 0).sum() < found.numel()


@pytest.mark.parametrize("seed", [1, 2**63, 2**64 - 1])
def test_a_step_can_be_profiled(seed: int) -> None:
    """The profiler reads the ints that an operation of autograd is given; they have 63 bits."""
    x = torch.ones(20, 4, requires_grad=True)
    with torch.autograd.profiler.profile(record_shapes=True):
        y = mapdrop.drop(x, "b c -> b", 0.5, seed=seed)
        y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, mask_of(x, "b c -> b", 0.5, seed=seed))
    assert set(x.grad.flatten().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("grad", [True, False])
def test_wrappers_that_outlived_their_transform(grad: bool) -> None:
    found: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        found.append(x)
        return x.sum()

    torch.func.grad(keep)(torch.randn(8, 16))
    with torch.set_grad_enabled(grad):
        y = mapdrop.drop(found[0], "b c -> b c", 0.5, seed=1)
    kept = mapdrop.mask("b c -> b c", (8, 16), 0.5, seed=1)
    assert torch.equal(y.detach().clone(), kept.apply(found[0].detach().clone()))
    assert 0 < (y == 0).sum() < y.numel()


def saved_bytes(x: Tensor, function: object) -> int:
    seen: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        seen.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function(x)  # type: ignore[operator]
    return sum(seen)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_tensor_is_saved_for_backward(pattern: str) -> None:
    """Eager code on the CPU keeps the seed and the step as numbers."""
    x = torch.randn(8, 16, 9, 9, requires_grad=True)
    assert saved_bytes(x, lambda z: mapdrop.drop(z, pattern, 0.5)) == 0
    assert saved_bytes(x, lambda z: mapdrop.drop(z, pattern, 0.5, seed=1, step=3)) == 0
    assert saved_bytes(x, lambda z: torch.nn.functional.dropout(z, 0.5)) > 0


def test_the_guard_on_saved_bytes_sees_what_torch_saves() -> None:
    x = torch.randn(8, 16, 9, 9, requires_grad=True)
    assert saved_bytes(x, lambda z: torch.nn.functional.dropout(z, 0.5)) >= x.nbytes


def test_in_place_writes_x_and_has_the_same_gradient() -> None:
    leaf = torch.randn(4, 6, 5, 5, requires_grad=True)
    x = leaf * 1
    y = mapdrop.drop(x, "b c h w -> b c", 0.5, seed=3, inplace=True)
    assert y.data_ptr() == x.data_ptr()
    (y * 3).sum().backward()
    mask = mask_of(leaf, "b c h w -> b c", 0.5, seed=3)
    assert torch.equal(y, leaf * mask)
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, 3 * mask)


def test_in_place_refuses_a_leaf_that_needs_its_values() -> None:
    with pytest.raises(RuntimeError, match="leaf"):
        mapdrop.drop(torch.ones(3, requires_grad=True), "n -> n", 0.5, inplace=True)


def test_in_place_change_of_what_backward_needs_is_noticed() -> None:
    x = torch.ones(3, requires_grad=True) * 1
    squared = x**2
    mapdrop.drop(x, "n -> n", 0.5, inplace=True)
    with pytest.raises(RuntimeError, match="inplace operation"):
        squared.sum().backward()


def test_func_grad_and_vmap_of_grad() -> None:
    def loss(z: Tensor) -> Tensor:
        return (mapdrop.drop(z, "c -> c", 0.5, seed=3) ** 2).sum()

    x = torch.arange(1.0, 9.0)
    mask = mask_of(x, "c -> c", 0.5, seed=3)
    assert torch.equal(torch.func.grad(loss)(x), 2 * mask**2 * x)
    batch = torch.stack([x, -x])
    assert torch.equal(torch.func.vmap(torch.func.grad(loss))(batch), 2 * mask**2 * batch)
    hessian = torch.func.hessian(loss)(x)
    assert torch.equal(hessian, torch.diag(2 * mask**2))


def test_forward_mode() -> None:
    x, tangent = torch.randn(8), torch.randn(8)
    mask = mask_of(x, "n -> n", 0.5, seed=1)
    with forward_ad.dual_level():
        dual = mapdrop.drop(forward_ad.make_dual(x, tangent), "n -> n", 0.5, seed=1)
        primal, moved = forward_ad.unpack_dual(dual)
    assert torch.equal(primal, x * mask)
    assert torch.equal(moved, tangent * mask)
    moved = torch.func.jvp(lambda z: mapdrop.drop(z, "n -> n", 0.5, seed=1), (x,), (tangent,))[1]
    assert torch.equal(moved, tangent * mask)


class TestVmap:
    """Per-example masks, as `randomness=` asks for them."""

    x = torch.ones(16, 40, 2, 2)

    @staticmethod
    def spatial(z: Tensor, seed: object = None) -> Tensor:
        return mapdrop.drop(z, "c h w -> c", 0.5, seed=seed)

    def test_different(self) -> None:
        y = torch.func.vmap(self.spatial, randomness="different")(self.x)
        assert len({tuple(row) for row in y[:, :, 0, 0].tolist()}) == 16
        assert torch.equal(y, y[:, :, :1, :1].expand_as(y))

    def test_same(self) -> None:
        y = torch.func.vmap(self.spatial, randomness="same")(self.x)
        assert torch.equal(y, y[:1].expand_as(y))
        assert set(y.unique().tolist()) == {0.0, 2.0}

    def test_error_is_the_default(self) -> None:
        with pytest.raises(RuntimeError, match="randomness"):
            torch.func.vmap(self.spatial)(self.x)

    def test_a_seed_for_each_example(self) -> None:
        seeds = torch.arange(16)
        y = torch.func.vmap(self.spatial)(self.x, seeds)
        for example, seed in zip(y, seeds.tolist(), strict=True):
            assert torch.equal(example, self.spatial(self.x[0], seed))

    def test_one_seed_for_all_along_any_axis(self) -> None:
        x = torch.randn(3, 40, 5, 2)
        y = torch.func.vmap(lambda z: self.spatial(z, 7), in_dims=2, out_dims=2)(x)
        for i in range(5):
            assert torch.equal(y[:, :, i], self.spatial(x[:, :, i], 7))


class Block(torch.nn.Module):
    """Convolution, two drop layers, ReLU; checkpointed as asked."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.maps, self.values = SpatialDropout2d(0.5), Dropout(0.5)
        self.reentrant = reentrant

    def body(self, x: Tensor) -> Tensor:
        return self.values(self.maps(self.conv(x)).relu())  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        if self.reentrant is None:
            return self.body(x)
        kept: Tensor = checkpoint(self.body, x, use_reentrant=self.reentrant)
        return kept


def gradients(
    reentrant: bool | None, with_seed: bool, compiled: bool = False
) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    block = Block(reentrant)
    if with_seed:
        seeded(block, 5)
    run = torch.compile(block, fullgraph=True) if compiled else block
    x = torch.linspace(-1, 1, 6 * 3 * 100).reshape(6, 3, 10, 10).requires_grad_()
    torch.manual_seed(1)
    run(x).square().sum().backward()
    assert x.grad is not None
    assert block.conv.weight.grad is not None
    return x.grad, block.conv.weight.grad


@pytest.mark.parametrize("with_seed", [False, True], ids=["fresh", "seeded"])
@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
def test_a_checkpointed_layer_sees_its_mask_again(reentrant: bool, with_seed: bool) -> None:
    plain, again = gradients(None, with_seed), gradients(reentrant, with_seed)
    torch.testing.assert_close(again, plain)
    assert plain[0].abs().sum() > 0


@pytest.mark.compiler
@pytest.mark.parametrize("with_seed", [False, True], ids=["fresh", "seeded"])
def test_a_checkpointed_layer_sees_its_mask_again_when_compiled(with_seed: bool) -> None:
    plain = gradients(None, with_seed)
    torch.testing.assert_close(gradients(False, with_seed, compiled=True), plain)


def test_the_checkpoint_guard_sees_another_mask() -> None:
    assert not torch.allclose(gradients(None, True)[0], gradients(None, False)[0])

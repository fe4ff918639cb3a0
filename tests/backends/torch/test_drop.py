"""drop() on tensors: every dtype and layout, with the compiled kernels and without them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mapdrop
from mapdrop import kernels
from tests import checks

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LAYOUTS = ["contiguous", "channels-last", "transposed", "sliced", "expanded"]
REQUESTS: dict[str, dict[str, Any]] = {
    "spatial": {"pattern": "b c h w -> b c"},
    "element": {"pattern": "b c h w -> b c h w"},
    "element, other order": {"pattern": "b c h w -> b h w c"},
    "pixel": {"pattern": "b c h w -> b h w"},
    "sample": {"pattern": "b ... -> b"},
    "group": {"pattern": "b (g 2) h w -> g b"},
    "all together": {"pattern": "b c h w ->"},
    "exact": {"pattern": "b c h w -> b c", "exact": "c"},
    "balance": {"pattern": "b c h w -> b c", "balance": "b"},
    "block": {"pattern": "b c h w -> b h w c", "block": {"h": 3, "w": 2}},
    "block, batch scale": {
        "pattern": "b c h w -> b c h w",
        "block": {"h": 2, "w": 9},
        "region": "full",
        "scale": "batch",
    },
    "sample scale": {"pattern": "b c h w -> b c", "scale": "sample"},
    "no scale": {"pattern": "b c h w -> b c", "scale": None},
}


@pytest.fixture(params=["compiled kernels", "plain operations"])
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "plain operations":
        with checks.without_kernels():
            yield
    else:
        assert kernels.for_cpu() is not None
        yield


def laid_out(layout: str, dtype: torch.dtype) -> Tensor:
    x = torch.randn(5, 6, 7, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    if layout == "channels-last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":
        return x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
    if layout == "sliced":
        return torch.cat([x, x], 1)[:, ::2]
    if layout == "expanded":
        return x[:1].expand(5, 6, 7, 4)
    return x


def expected(x: Tensor, p: float, **request: Any) -> Tensor:
    """From NumPy's mask, by an independent formula: one product in float32, one rounding."""
    pattern = request.pop("pattern")
    mask = mapdrop.mask(pattern, x.shape, p, seed=2**63 + 1, stream="s", step=2**33, **request)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    factor = mask.apply(torch.ones(x.shape, dtype=torch.float64)).to(wide)
    return torch.where(
        factor != 0, (x.to(wide) * factor).to(x.dtype), torch.zeros((), dtype=x.dtype)
    )


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_dtype_and_layout(request_: dict[str, Any], layout: str, dtype: torch.dtype) -> None:
    x = laid_out(layout, dtype)
    before = x.clone()
    y = mapdrop.drop(x, p=0.4, seed=2**63 + 1, stream="s", step=2**33, **request_)
    want = expected(x, 0.4, **request_)
    assert torch.equal(y, want)
    assert y.dtype == dtype
    assert y.stride() == torch.empty_like(x).stride()
    assert torch.equal(x, before)
    assert not torch.equal(want, x)
    if request_["pattern"] != "b c h w ->":
        assert 0 < (want == 0).sum() < want.numel()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("layout", LAYOUTS[:-1])
def test_in_place_in_every_layout(layout: str) -> None:
    for request_ in REQUESTS.values():
        x = laid_out(layout, torch.float32)
        want = expected(x, 0.4, **request_)
        y = mapdrop.drop(x, p=0.4, seed=2**63 + 1, stream="s", step=2**33, inplace=True, **request_)
        assert y.data_ptr() == x.data_ptr()
        assert torch.equal(x, want)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", [5, 2000])
def test_nan_and_infinity_under_dropped_coins_are_plus_zero(
    dtype: torch.dtype, length: int
) -> None:
    for bad in (float("nan"), float("inf"), float("-inf"), -0.0, -1.0):
        x = torch.full((4, 16, length), bad, dtype=dtype).requires_grad_()
        y = mapdrop.drop(x, "b c t -> b c", 0.5, seed=1)
        into = mapdrop.drop(x.detach().clone(), "b c t -> b c", 0.5, seed=1, inplace=True)
        assert torch.equal(into.nan_to_num(7), y.nan_to_num(7))
        assert torch.equal(torch.signbit(into), torch.signbit(y))
        dropped = ~torch.from_numpy(mapdrop.mask("b c t -> b c", x.shape, 0.5, seed=1).coins)[
            ..., None
        ].expand(x.shape)
        assert torch.equal(y[dropped], torch.zeros_like(y[dropped]))
        assert not torch.signbit(y[dropped]).any()
        assert torch.equal(torch.isnan(y), ~dropped & torch.isnan(x))
        y.backward(torch.full_like(y, float("nan")))
        assert x.grad is not None
        assert torch.equal(x.grad[dropped], torch.zeros_like(x.grad[dropped]))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_p_1_gives_zeros_and_zero_gradients(dtype: torch.dtype) -> None:
    x = torch.randn(4, 8, 3).to(dtype).requires_grad_()
    every: list[dict[str, Any]] = [{}, {"scale": "batch"}, {"scale": "sample"}, {"exact": "c"}]
    for options in [*every, {"balance": "b"}]:
        x.grad = None
        y = mapdrop.drop(x, "b c t -> b c", 1.0, **options)
        assert torch.equal(y, torch.zeros_like(y))
        y.sum().backward()
        assert x.grad is not None
        assert torch.equal(x.grad, torch.zeros_like(x.grad))


def test_p_0_is_the_same_object_and_draws_nothing() -> None:
    x = torch.randn(3, 4)
    state = torch.get_rng_state()
    assert mapdrop.drop(x, "b c -> b c", 0.0) is x
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(mapdrop.PatternError):
        mapdrop.drop(x, "b c h -> b c", 0.0)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
def test_zero_size(shape: tuple[int, int]) -> None:
    x = torch.ones(shape, requires_grad=True)
    every: list[dict[str, Any]] = [{}, {"exact": "c"}, {"balance": "b"}, {"block": {"c": 3}}]
    for options in [*every, {"scale": "batch"}]:
        y = mapdrop.drop(x, "b c -> b c", 0.5, **options)
        assert y.shape == x.shape
    y.sum().backward()


def test_a_scalar_tensor() -> None:
    values = {float(mapdrop.drop(torch.ones(()), "->", 0.5, seed=s)) for s in range(20)}
    assert values == {0.0, 2.0}


class TestSeed:
    """Where a mask's seed comes from."""

    x = torch.ones(64, 4)

    def drop(self, **options: Any) -> Tensor:
        dropped: Tensor = mapdrop.drop(self.x, "b c -> b c", 0.5, **options)
        return dropped

    def test_none_follows_manual_seed(self) -> None:
        torch.manual_seed(3)
        first, second = self.drop(), self.drop()
        torch.manual_seed(3)
        assert torch.equal(self.drop(), first)
        assert torch.equal(self.drop(), second)
        assert not torch.equal(first, second)

    def test_a_generator(self) -> None:
        one = self.drop(seed=torch.Generator().manual_seed(5))
        state = torch.get_rng_state()
        again = self.drop(seed=torch.Generator().manual_seed(5))
        assert torch.equal(one, again)
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
    def test_a_tensor_is_the_number_in_it(self, seed: int) -> None:
        for tensor in (
            torch.tensor(seed),
            torch.tensor([seed]),
            torch.tensor(seed).to(torch.uint64),
        ):
            assert torch.equal(self.drop(seed=tensor, stream="a"), self.drop(seed=seed, stream="a"))
        step = torch.tensor(seed)
        assert torch.equal(self.drop(seed=1, step=step), self.drop(seed=1, step=seed))

    def test_numbers_differ(self) -> None:
        seeds = (0, 1, 2**32, 2**63, 2**64 - 1)
        masks = {
            self.drop(seed=seed, step=step).numpy().tobytes() for seed in seeds for step in seeds
        }
        assert len(masks) == len(seeds) ** 2

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"seed": -1}, "seed is a whole number from 0"),
            ({"seed": 2**64}, "seed is a whole number from 0"),
            ({"seed": 1.5}, "seed is a whole number"),
            ({"seed": True}, "seed is a whole number"),
            ({"seed": torch.tensor(1.5)}, "a seed tensor has one integer"),
            ({"seed": torch.tensor([1, 2])}, "a seed tensor has one integer"),
            ({"step": -1}, "step is a whole number"),
            ({"stream": 7}, "stream is a name"),
        ],
        ids=str,
    )
    def test_wrong_ones_are_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises((TypeError, ValueError), match=message):
            self.drop(**{"seed": 1, **options})


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.float8_e4m3fn])
def test_other_dtypes_are_refused_with_a_reason(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=r"which needs floats; x.float\(\) makes them"):
        mapdrop.drop(torch.ones(4).to(dtype), "n -> n", 0.5)


def test_out_is_refused_with_a_reason() -> None:
    with pytest.raises(TypeError, match="use inplace=True"):
        mapdrop.drop(torch.ones(4), "n -> n", 0.5, out=torch.ones(4))


def test_the_number_of_threads_is_torchs_and_does_not_change_the_bits() -> None:
    x = torch.randn(4, 64, 61, 67)
    threads = torch.get_num_threads()
    patterns = ("b c h w -> b h w c", "... -> ...", "b c h w -> b c")
    masks = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            masks.append([mapdrop.drop(x, pattern, 0.3, seed=1) for pattern in patterns])
    finally:
        torch.set_num_threads(threads)
    for other in masks[1:]:
        for one, two in zip(masks[0], other, strict=True):
            assert torch.equal(one, two)


def test_many_python_threads_at_once() -> None:
    x = torch.randn(8, 64, 56, 56)
    want = mapdrop.drop(x, "... -> ...", 0.5, seed=1)
    equal: list[bool] = []

    def work() -> None:
        for _ in range(5):
            equal.append(torch.equal(mapdrop.drop(x, "... -> ...", 0.5, seed=1), want))

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert equal == [True] * 30


@pytest.mark.filterwarnings(
    r"ignore:os\.fork\(\) was called:RuntimeWarning"
)  # Where JAX is loaded.
def test_a_forked_child_does_not_wait_for_its_parents_threads() -> None:
    x = torch.randn(8, 64, 56, 56)
    mapdrop.drop(x, "... -> ...", 0.5)  # The parent has its pool now.
    loader: Any = torch.utils.data.DataLoader(
        [x[0], x[1]],  # type: ignore[arg-type]
        num_workers=1,
        multiprocessing_context="fork",
        collate_fn=lambda part: mapdrop.drop(torch.stack(part * 8), "... -> ...", 0.5, seed=1),
        timeout=60,
    )
    for batch, sample in zip(loader, x, strict=False):
        assert torch.equal(
            batch, mapdrop.drop(torch.stack([sample] * 8), "... -> ...", 0.5, seed=1)
        )


def test_numpy_and_torch_have_one_mask() -> None:
    x = np.random.default_rng(0).standard_normal((5, 6, 7, 4), dtype=np.float32)
    for request_ in REQUESTS.values():
        ours = mapdrop.drop(x, p=0.3, seed=9, stream="t", step=4, **request_)
        theirs = mapdrop.drop(torch.from_numpy(x), p=0.3, seed=9, stream="t", step=4, **request_)
        np.testing.assert_array_equal(theirs.numpy(), ours)
        assert (ours == 0).any()


def test_a_subclass_of_tensor_goes_through_the_dispatcher() -> None:
    class Named(torch.Tensor):
        pass

    y = mapdrop.drop(torch.ones(8).as_subclass(Named), "n -> n", 0.5, seed=1)
    assert torch.equal(y.as_subclass(Tensor), mapdrop.drop(torch.ones(8), "n -> n", 0.5, seed=1))


@pytest.mark.parametrize("p", [-0.5, 1.5, float("nan"), "0.5", True, None, [0.5]])
def test_a_wrong_rate_is_refused_with_what_came(p: Any) -> None:
    mapdrop.drop(torch.ones(4), "n -> n", 1.0)  # True is equal to it, and must not find its plan.
    with pytest.raises((TypeError, ValueError), match="p is the fraction to drop"):
        mapdrop.drop(torch.ones(4), "n -> n", p)


def test_a_generator_is_used_under_a_dispatch_mode_too() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.ones(64)
    drawn = [mapdrop.drop(x, "n -> n", 0.5, seed=torch.Generator().manual_seed(n)) for n in (1, 2)]
    with FlopCounterMode(display=False):
        again = mapdrop.drop(x, "n -> n", 0.5, seed=torch.Generator().manual_seed(1))
    assert torch.equal(again, drawn[0])
    assert not torch.equal(drawn[0], drawn[1])

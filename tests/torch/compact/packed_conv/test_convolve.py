"""Convolutions of packed arrays give PyTorch's results for masked ones, with all gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop import kernels
from mapdrop.torch.compact.packed_conv.convolve import convolve
from mapdrop.torch.compact.packed_conv.operation import PackedConv
from mapdrop.torch.compact.packing.gather import convert
from mapdrop.torch.compact.packing.layout import BLOCK, Layout
from mapdrop.torch.graph.lattice import Bits
from mapdrop.torch.graph.settings import Convolution, Linear
from tests.torch.compact.agreement import pixels

pytestmark = pytest.mark.exhaustive

N, INTO, OUT = 3, 24, 20
Plain = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Operation:
    settings: Convolution | Linear
    plain: Plain
    space: tuple[int, ...]
    kernel: tuple[int, ...]

    @property
    def weight(self) -> tuple[int, ...]:
        return (*self.settings.weight_order(OUT, INTO), *self.kernel)


def convolution(
    d: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Operation:
    plain = (F.conv1d, F.conv2d, F.conv3d)[d - 1]
    settings = Convolution((stride,) * d, (padding,) * d, (dilation,) * d, (0,) * d)
    space = (7, 5, 6)[:d] if d < 3 else (5, 4, 4)
    return Operation(
        settings, lambda x, w, b: plain(x, w, b, stride, padding, dilation), space, (kernel,) * d
    )


def transposed(d: int, kernel: int, stride: int = 1, padding: int = 0, extra: int = 0) -> Operation:
    plain = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[d - 1]
    settings = Convolution((stride,) * d, (padding,) * d, (1,) * d, (extra,) * d, True)
    return Operation(
        settings,
        lambda x, w, b: plain(x, w, b, stride, padding, extra),
        (4, 3, 3)[:d],
        (kernel,) * d,
    )


OPERATIONS = {
    "conv1d": convolution(1, 3),
    "conv2d": convolution(2, 3, padding=1),
    "conv2d of one pixel": convolution(2, 1),
    "conv2d strided": convolution(2, 3, stride=2, padding=1),
    "conv2d dilated": convolution(2, 2, padding=2, dilation=2),
    "conv3d": convolution(3, 2, padding=1),
    "transposed 1d": transposed(1, 3),
    "transposed 2d": transposed(2, 3, stride=2, padding=1, extra=1),
    "transposed 3d": transposed(3, 2, stride=2),
    "linear": Operation(
        Linear(), lambda x, w, b: F.linear(x.flatten(1), w.flatten(1), b), (4,), (4,)
    ),
}
RNG = np.random.default_rng(0)
HALF: dict[int, Bits] = {c: RNG.random((N, c)) < 0.5 for c in (INTO, OUT)}
SIDES = {
    "input packed": (True, False),
    "output packed": (False, True),
    "both packed": (True, True),
}


@pytest.fixture(params=list(OPERATIONS.values()), ids=list(OPERATIONS))
def operation(request: pytest.FixtureRequest) -> Operation:
    chosen: Operation = request.param
    return chosen


ROWS = {"block": 1}  # Each sample's rows are padded to a multiple of it.


@pytest.fixture(params=["own kernels", "own kernels, some zero maps", "by run"], autouse=True)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use mapdrop's own kernels if they support the operation, or only PyTorch's."""
    monkeypatch.setitem(ROWS, "block", 1 if request.param == "own kernels" else BLOCK)
    if request.param == "by run":
        monkeypatch.setattr(kernels, "for_convolution", lambda: None)
    else:
        assert kernels.for_convolution() is not None, "Numba is a dependency of the tests"
    return str(request.param)


def layout_of(bits: Bits) -> Layout:
    return Layout.from_bits(bits, ROWS["block"])


def over(bits: Bits | None, like: Tensor) -> Tensor:
    """Return the mask as factors of an array."""
    if bits is None:
        return torch.ones_like(like)
    return torch.from_numpy(bits).to(like).reshape(*bits.shape, *[1] * (like.dim() - 2))


def compare(
    operation: Operation,
    source: Bits | None,
    target: Bits | None,
    gain: float = 1.0,
    relu: bool = False,
    bias: bool = True,
    frozen: tuple[str, ...] = (),
) -> dict[str, Tensor | None]:
    """Check that output and gradients are the masked dense operation's, and return them."""
    samples = len(source if source is not None else target)  # type: ignore[arg-type]
    arrays = {
        "x": pixels(samples, INTO, *operation.space),
        "w": pixels(*operation.weight) / 4,
        "b": pixels(OUT) if bias else None,
    }

    def leaves() -> dict[str, Tensor | None]:
        return {
            k: None if v is None else v.clone().requires_grad_(k not in frozen)
            for k, v in arrays.items()
        }

    dense, packed = leaves(), leaves()
    assert dense["x"] is not None
    assert dense["w"] is not None
    assert packed["x"] is not None
    assert packed["w"] is not None
    y = operation.plain(dense["x"] * over(source, dense["x"]) * gain, dense["w"], dense["b"])
    y = torch.relu(y) if relu else y
    y = y * over(target, y)
    layouts = [None if bits is None else layout_of(bits) for bits in (source, target)]
    conv = PackedConv(operation.settings, layouts[0], layouts[1], gain, relu)
    z = convolve(convert(packed["x"], None, layouts[0]), packed["w"], packed["b"], conv)
    z = z if layouts[1] is None else convert(z, layouts[1], None, y.shape)
    torch.testing.assert_close(z, y, rtol=1e-10, atol=1e-10)
    weights = pixels(*y.shape)
    (y * weights).sum().backward()
    (z * weights).sum().backward()
    found: dict[str, Tensor | None] = {"output": z}
    for name, leaf in packed.items():
        want = dense[name]
        if leaf is None or want is None:
            continue
        assert (leaf.grad is None) == (want.grad is None) == (name in frozen), name
        found[name] = leaf.grad
        torch.testing.assert_close(leaf.grad, want.grad, rtol=1e-10, atol=1e-10)
    return found


@pytest.mark.parametrize("relu", [False, True], ids=["no relu", "relu"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize(("source", "target"), SIDES.values(), ids=SIDES)
def test_packed_equals_masked(
    operation: Operation, source: bool, target: bool, bias: bool, relu: bool
) -> None:
    compare(
        operation, HALF[INTO] if source else None, HALF[OUT] if target else None, 1.0, relu, bias
    )


@pytest.mark.parametrize(("source", "target"), SIDES.values(), ids=SIDES)
def test_a_factor_goes_into_the_weight(operation: Operation, source: bool, target: bool) -> None:
    compare(operation, HALF[INTO] if source else None, HALF[OUT] if target else None, 2.5)


EXTREME: dict[str, tuple[Bits | None, Bits | None]] = {
    "nothing is read": (np.zeros((N, INTO), bool), None),
    "nothing is read, some is made": (np.zeros((N, INTO), bool), HALF[OUT]),
    "nothing is made": (None, np.zeros((N, OUT), bool)),
    "nothing at all": (np.zeros((N, INTO), bool), np.zeros((N, OUT), bool)),
    "all": (np.ones((N, INTO), bool), np.ones((N, OUT), bool)),
    "one sample reads nothing": (HALF[INTO] & np.array([[True], [False], [True]]), None),
    "one sample makes nothing": (HALF[INTO], HALF[OUT] & np.array([[False], [True], [True]])),
    "a mask for the batch": (np.repeat(HALF[INTO][:1], N, 0), np.repeat(HALF[OUT][:1], N, 0)),
    "runs of different length": (HALF[INTO][[0, 0, 1, 1, 1]], HALF[OUT][[0, 1, 1, 1, 2]]),
    "one sample": (HALF[INTO][:1], HALF[OUT][:1]),
}


@pytest.mark.parametrize("relu", [False, True], ids=["no relu", "relu"])
@pytest.mark.parametrize(("source", "target"), EXTREME.values(), ids=EXTREME)
def test_extreme_masks(
    operation: Operation, source: Bits | None, target: Bits | None, relu: bool
) -> None:
    compare(operation, source, target, 2.0, relu)


@pytest.mark.parametrize("frozen", [("x",), ("w",), ("b",), ("x", "w"), ("w", "b")], ids="".join)
def test_frozen_arrays_get_no_gradient(operation: Operation, frozen: tuple[str, ...]) -> None:
    compare(operation, HALF[INTO], HALF[OUT], frozen=frozen)


def test_unused_weights_have_a_gradient_of_exactly_0(operation: Operation) -> None:
    source, target = HALF[INTO].copy(), HALF[OUT].copy()
    source[:, :5], target[:, 7:] = False, False
    found = compare(operation, source, target)
    weight, bias = found["w"], found["b"]
    assert weight is not None
    assert bias is not None
    by_out = weight.transpose(0, 1) if operation.weight[0] != OUT else weight
    assert not by_out[7:].any()
    assert not by_out[:, :5].any()
    assert by_out[:7, 5:].any()
    assert not bias[7:].any()


# A derivative for each value: few of them. 5 x 5 pixels are a tile of the kernels' and one more.
FEW: dict[str, tuple[int, ...]] = {
    "conv2d": (5, 5),
    "conv3d": (3, 2, 2),
    "conv2d strided": (4, 3),
    "transposed 2d": (3, 2),
    "linear": (4,),
}


@pytest.mark.parametrize(("source", "target"), SIDES.values(), ids=SIDES)
@pytest.mark.parametrize(("name", "space"), FEW.items(), ids=FEW)
def test_the_derivative_is_the_numerical_derivative(
    name: str, space: tuple[int, ...], source: bool, target: bool
) -> None:
    operation = OPERATIONS[name]
    # A dense side has as many maps as the rows of a tile, a packed one a few of 5.
    inputs, outputs = (5 if packed else 8 for packed in (source, target))
    layouts = [
        # The multiple that rows are padded to changes only how many zero maps there are.
        Layout.from_bits(bits[:2, :5], min(ROWS["block"], 4)) if packed else None
        for bits, packed in zip(HALF.values(), (source, target), strict=True)
    ]
    x = pixels(1, layouts[0].rows, *space) if layouts[0] else pixels(2, inputs, *space)
    weight = pixels(*operation.settings.weight_order(outputs, inputs), *operation.kernel)
    conv = PackedConv(operation.settings, layouts[0], layouts[1], 1.5)
    given = [t.requires_grad_() for t in (x, weight, pixels(outputs))]
    assert torch.autograd.gradcheck(lambda x, w, b: convolve(x, w, b, conv), given)


def test_autocast_sets_the_dtype() -> None:
    operation = OPERATIONS["conv2d"]
    layout = layout_of(HALF[INTO])
    x, weight = pixels(N, INTO, *operation.space).float(), pixels(*operation.weight).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = convolve(
            convert(x, None, layout), weight, None, PackedConv(operation.settings, layout, None)
        )
        expected = operation.plain(x * over(HALF[INTO], x), weight, None)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.2)

"""Convolutions of chosen maps equal PyTorch's on masked arrays, and touch no other maps."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import llvmlite.ir
import numba.core
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config
from numba.core import cgutils
from numpy.typing import NDArray

import mapdrop
from mapdrop.kernels import convolution as kernels
from mapdrop.kernels.jit import _sources
from tests.conftest import framework

Bits = NDArray[np.bool_]
ROUNDING = {np.dtype("float32"): 2e-5, np.dtype("float64"): 1e-12}


@dataclass(frozen=True)
class Case:
    """A convolution: the maps that each sample reads and makes, sizes, settings and a factor."""

    reads: Bits
    makes: Bits
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    gain: float = 1.0
    relu: bool = False
    bias: bool = True
    dtype: str = "float64"


def row_index(bits: Bits) -> kernels.RowIndex:
    channels = [np.flatnonzero(row) for row in bits]
    first = np.concatenate([[0], np.cumsum([len(ids) for ids in channels], dtype=np.int64)])
    return kernels.RowIndex(first.astype(np.int64), np.concatenate(channels).astype(np.int64))


def three(sizes: tuple[int, ...], missing: int) -> Any:
    return (sizes[0], *[missing] * (3 - len(sizes)), *sizes[1:])


def by_torch(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays of a case, and PyTorch's output and gradients."""
    torch = framework("torch")
    own = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Any:
        return torch.randn(shape, generator=own, dtype=getattr(torch, case.dtype))

    def over(bits: Bits) -> Any:
        return torch.from_numpy(bits).view(*bits.shape, *[1] * len(case.size))

    (samples, inputs), outputs = case.reads.shape, case.makes.shape[1]
    x = random(samples, inputs, *case.size) * over(case.reads)
    w, b = random(outputs, inputs, *case.kernel), random(outputs)
    leaves = [t.requires_grad_() for t in (x, w)]
    convolve = getattr(torch.nn.functional, f"conv{len(case.size)}d")
    shift = b if case.bias else None
    y = convolve(x * case.gain, w, shift, 1, case.padding, case.dilation)
    grad = random(*y.shape) * over(case.makes)
    y.backward(grad)
    y = torch.relu(y) if case.relu else y
    given = {"x": x.detach(), "w": w.detach(), "b": b[: len(b) * case.bias], "grad": grad}
    found = {"out": y.detach() * over(case.makes), "x": leaves[0].grad, "w": leaves[1].grad}
    return {k: t.numpy() for k, t in given.items()}, {k: t.numpy() for k, t in found.items()}


def by_kernels(case: Case, arrays: dict[str, Any], threads: int = 1) -> dict[str, Any]:
    """Return output and gradients by the kernels, unpacked."""
    out = arrays["grad"].shape
    geometry = kernels.Geometry(
        three(case.size, 1),
        three(out[2:], 1),
        three(case.kernel, 1),
        three(case.padding, 0),
        three(case.dilation, 1),
    )
    reads, makes = row_index(case.reads), row_index(case.makes)
    x = arrays["x"][case.reads].reshape(-1, *geometry.size)
    grad = arrays["grad"][case.makes].reshape(-1, *geometry.out)
    flat = grad.reshape(len(grad), prod(geometry.out))
    y, dx, dw = (
        np.empty_like(flat),
        np.empty((len(x), prod(geometry.size)), x.dtype),
        np.empty_like(arrays["w"]),
    )
    rest = (case.gain, case.relu, False, threads)
    kernels.convolve(y, makes, x, reads, arrays["w"], arrays["b"], geometry, *rest)
    none = arrays["b"][:0]
    back = (geometry.of_input_gradient, case.gain, False, True, threads)
    turned = np.ascontiguousarray(arrays["w"].swapaxes(0, 1))
    kernels.convolve(dx, reads, grad, makes, turned, none, *back)
    shape = (*dw.shape[:2], -1)
    kernels.weight_grad(dw.reshape(shape), flat, makes, x, reads, geometry, case.gain, threads)
    whole = np.zeros(out, y.dtype), np.zeros_like(arrays["x"])
    whole[0][case.makes], whole[1][case.reads] = y.reshape(-1, *out[2:]), dx.reshape(-1, *case.size)
    return {"out": whole[0], "x": whole[1], "w": dw}


def check(case: Case, threads: int = 1) -> None:
    arrays, expected = by_torch(case)
    found = by_kernels(case, arrays, threads)
    # PyTorch also has a gradient of the maps that were not read.
    expected["x"] = expected["x"] * case.reads.reshape(*case.reads.shape, *[1] * len(case.size))
    for name, want in expected.items():
        limit = ROUNDING[want.dtype] * max(1.0, float(np.abs(want).max(initial=0)))
        np.testing.assert_allclose(found[name], want, rtol=0, atol=limit, err_msg=name)


def bits(samples: int, channels: int, rate: float = 0.5, seed: int = 0) -> Bits:
    return np.random.default_rng(seed).random((samples, channels)) < rate


@st.composite
def cases(draw: st.DrawFn) -> Case:
    dims, samples = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    seed, rate = draw(st.integers(0, 99)), draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel, dilation, padding = each(1, 4), each(1, 3), each(0, 4)
    least = (d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    size = tuple(
        max(1, n - 2 * p) + draw(st.integers(0, 9)) for n, p in zip(least, padding, strict=True)
    )
    return Case(
        bits(samples, draw(st.integers(1, 40)), rate, seed),
        bits(samples, draw(st.integers(1, 40)), draw(st.sampled_from([0.0, 0.5, 1.0])), seed + 1),
        size,
        kernel,
        padding,
        dilation,
        draw(st.sampled_from([1.0, 2.5])),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.sampled_from(["float32", "float64"])),
    )


@settings(max_examples=300, deadline=None)
@given(cases(), st.sampled_from([1, 2]))
def test_any_convolution_equals_pytorchs(case: Case, threads: int) -> None:
    check(case, threads)


SHARED = bits(1, 64).repeat(4, 0)
LARGE = {
    "3 x 3": Case(bits(5, 70), bits(5, 90), (32, 32), (3, 3), (1, 1), (1, 1), 2.0),
    "all outputs": Case(bits(3, 70), bits(3, 96, 2), (14, 14), (3, 3), (1, 1), (1, 1)),
    "a large kernel": Case(bits(2, 40), bits(2, 50), (12, 12), (9, 9), (4, 4), (1, 1)),
    "all inputs": Case(bits(3, 70, 2), bits(3, 90), (14, 14), (3, 3), (1, 1), (1, 1), 2.0),
    "all inputs, few pixels": Case(bits(4, 33, 2), bits(4, 70), (6, 6), (9, 9), (4, 4), (1, 1)),
    "all inputs, an axis": Case(bits(2, 17, 2), bits(2, 20), (500,), (5,), (8,), (4,)),
    "one sample": Case(bits(1, 64), bits(1, 64), (40, 40), (3, 3), (1, 1), (1, 1)),
    "one mask": Case(SHARED, SHARED, (9, 9), (1, 1), (0, 0), (1, 1)),
}
BANDS = {
    "bands": Case(bits(2, 40), bits(2, 30), (61, 67), (3, 3), (2, 2), (2, 2), relu=True),
    "bands, the same size": Case(bits(2, 40), bits(2, 30), (64, 48), (3, 3), (1, 1), (1, 1), 2.0),
    "bands, all inputs": Case(bits(2, 20, 2), bits(2, 30), (90, 67), (5, 3), (0, 1), (1, 1), 2.0),
    "bands, an axis": Case(bits(1, 40), bits(1, 20), (9001,), (5,), (9,), (2,)),
    "bands of a plane": Case(bits(1, 6), bits(1, 9), (5, 40, 41), (3, 3, 3), (1, 2, 1), (1, 1, 1)),
}
LARGE |= BANDS


@pytest.mark.parametrize("case", BANDS.values(), ids=BANDS)
def test_these_are_made_in_several_bands(case: Case) -> None:
    arrays, _ = by_torch(case)
    size, out, kernel = (three(s, 1) for s in (case.size, arrays["grad"].shape[2:], case.kernel))
    settings = three(case.padding, 0), three(case.dilation, 1)
    geometry = kernels.Geometry(size, out, kernel, *settings)
    maps = max(1, kernels.DEPTH // prod(case.kernel))
    planes = geometry.band(maps, np.dtype(case.dtype).itemsize)
    assert 1 <= planes <= geometry.out[0] / 2


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_larger_ones_equal_pytorchs(case: Case, threads: int) -> None:
    check(case, threads)


@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_the_number_of_threads_changes_no_bit(case: Case) -> None:
    arrays, _ = by_torch(case)
    one, many = by_kernels(case, arrays, 1), by_kernels(case, arrays, 3)
    assert all(np.array_equal(one[name], many[name]) for name in one)


def test_weights_of_maps_that_are_not_chosen_are_not_read() -> None:
    """They may be NaN."""
    case = LARGE["3 x 3"]
    reads, makes = (np.repeat(b[:1], len(b), 0) for b in (case.reads, case.makes))
    case = Case(reads, makes, case.size, case.kernel, case.padding, case.dilation)
    arrays, _ = by_torch(case)
    expected = by_kernels(case, arrays)
    arrays["w"] = arrays["w"].copy()
    arrays["w"][~makes[0]] = np.nan
    arrays["w"][:, ~reads[0]] = np.nan
    found = by_kernels(case, arrays)
    assert np.isfinite(found["out"]).all()
    assert all(np.array_equal(expected[name], found[name]) for name in found)


@pytest.mark.parametrize("pixels", [(1, 1), (5, 5), (7, 7), (8, 8), (11, 13)], ids=str)
def test_nothing_but_the_output_is_written(pixels: tuple[int, int]) -> None:
    case = Case(bits(2, 9), bits(2, 13), pixels, (3, 3), (1, 1), (1, 1))
    arrays, _ = by_torch(case)
    expected = by_kernels(case, arrays)["out"][case.makes].reshape(-1, prod(pixels))
    held = np.full((len(expected) + 2, expected.shape[1]), 7.0)
    x = arrays["x"][case.reads].reshape(-1, pixels[0], 1, pixels[1])
    size = three(pixels, 1)
    geometry = kernels.Geometry(size, size, (3, 1, 3), (1, 0, 1), (1, 1, 1))
    kernels.convolve(
        held[1:-1],
        row_index(case.makes),
        x,
        row_index(case.reads),
        arrays["w"],
        arrays["b"],
        geometry,
        1.0,
        False,
        False,
        1,
    )
    assert np.array_equal(held[1:-1], expected)
    assert (held[[0, -1]] == 7).all()


def test_negative_zero_and_nan_pass_the_relu_as_in_torch() -> None:
    case = Case(bits(1, 1, 2), bits(1, 1, 2), (4,), (1,), (0,), (1,), relu=True, bias=False)
    arrays, _ = by_torch(case)
    arrays["x"][:] = [[[np.nan, -1.0, np.inf, -np.inf]]]
    arrays["w"][:] = 1
    found = by_kernels(case, arrays)["out"].reshape(-1)
    np.testing.assert_array_equal(found, [np.nan, 0, np.inf, 0])


OTHER_REGISTERS = """
from llvmlite import binding
from numba import njit
njit(lambda: 1)()  # From here on, Numba knows the processor.
real = binding.get_host_cpu_features
wide = real().get("avx512f")
binding.get_host_cpu_features = lambda: {"avx512f": not wide}
from mapdrop.kernels.convolution import microkernel
binding.get_host_cpu_features = real
from tests.kernels.test_convolution import LARGE, check
for case in LARGE.values():
    check(case, 2)
print(microkernel.ROWS, microkernel.BYTES)
"""


def test_registers_of_another_size_give_the_same(tmp_path: Path) -> None:
    """Use the tile of processors with 512-bit registers on one without, or the reverse."""
    from mapdrop.kernels.convolution import microkernel

    done = subprocess.run(
        [sys.executable, "-c", OTHER_REGISTERS],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    other = {4: "8 64", 8: "4 32"}[microkernel.ROWS]
    assert done.stdout.strip() == other


def test_cached_code_is_stale_once_any_source_changed() -> None:
    from mapdrop.kernels.convolution.im2col import copy_map

    assert copy_map._cache._cache_file._source_stamp == _sources()


@pytest.fixture
def imported_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the convolutions imported and tried out again, as in a new process without a cache."""
    for name in [name for name in sys.modules if name.startswith(kernels.__name__)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(mapdrop.kernels, "convolution")
    for_convolution = cache(mapdrop.kernels.for_convolution.__wrapped__)
    monkeypatch.setattr(mapdrop.kernels, "for_convolution", for_convolution)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))


def no_cgutils(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "numba.core.cgutils", None)
    patch.delattr(numba.core, "cgutils")


GONE: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "cgutils": no_cgutils,
    "a function of cgutils": lambda patch: patch.delattr(cgutils, "get_or_insert_function"),
    "an instruction": lambda patch: patch.delattr(llvmlite.ir.IRBuilder, "shuffle_vector"),
}


@pytest.mark.usefixtures("imported_anew")
@pytest.mark.parametrize("gone", [*GONE, None])
def test_where_numba_does_not_compile_them_pytorchs_do_the_work(
    gone: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch: Any = framework("torch")
    compact: Any = importlib.import_module("mapdrop.torch.compact")
    nn = torch.nn
    model = nn.Sequential(nn.Conv2d(4, 64, 3), nn.Dropout2d(0.5), nn.Conv2d(64, 8, 3)).double()
    fast = compact.compact(model, compact.Costs())
    if gone:
        GONE[gone](monkeypatch)
    x, made = torch.randn(8, 4, 24, 24).double(), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for net in (model, fast):
            torch.manual_seed(1)
            y = net(x)
            made.append([y, *torch.autograd.grad(y.square().sum(), list(model.parameters()))])
    torch.testing.assert_close(*made)
    assert "nothing is skipped" not in str(fast.report())
    assert (mapdrop.kernels.for_convolution() is None) == bool(gone)
    told = [w for w in caught if "does not compile mapdrop's convolutions" in str(w.message)]
    assert len(told) == bool(gone)

"""drop() on NumPy's arrays: every dtype and memory layout, with the compiled kernels and without.

The expected bits come from an independent formula on top of tests/reference.py: a float32 (float64)
product, rounded once.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import mapdrop
from mapdrop import kernels
from tests import checks, reference
from tests.cases import ALL, BLOCK, EXACT, INDEPENDENT, Case
from tests.conftest import framework

Array = NDArray[Any]
DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
cases = pytest.mark.parametrize("case", ALL, ids=str)


@pytest.fixture(params=["compiled", "plain"])
def made_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who makes the result: Numba's kernels, or NumPy alone."""
    if request.param == "compiled":
        framework("numba")
    else:
        monkeypatch.setattr(kernels, "for_cpu", lambda: None)
    return str(request.param)


# --- Every case in every dtype.


@cases
@dtypes
@pytest.mark.usefixtures("made_by")
def test_drop(case: Case, dtype: np.dtype[Any]) -> None:
    checks.check_drop(mapdrop.drop, np.asarray, np.asarray, case, dtype)


VALUES = {  # All that 16 bits can be, and what rounding is hard for.
    "float16": np.arange(2**16, dtype=np.uint16).view(np.float16),
    "bfloat16": np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16),
    "float32": (np.arange(2**16, dtype=np.uint32) * np.uint32(65_537)).view(np.float32),
    "float64": (np.arange(2**16, dtype=np.uint64) * np.uint64(2**48 + 1)).view(np.float64),
}


@pytest.mark.parametrize("p", [0.1, 0.2, 1 / 3, 0.5, 0.999])  # Times 1.25 and 1.5: many ties.
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.usefixtures("made_by")
def test_every_value_is_rounded_once(name: str, p: float) -> None:
    x = VALUES[name]
    wide = np.float64 if name == "float64" else np.float32
    with np.errstate(all="ignore"):
        product = (x.astype(wide) * wide(1 / (1 - p))).astype(x.dtype)
    kept = mapdrop.mask("n -> n", x.shape, p, seed=9).coins
    came = mapdrop.drop(x, "n -> n", p, seed=9)
    assert checks.same_bits(came[kept], product[kept])
    assert (came[~kept].view(f"u{x.itemsize}") == 0).all()


@pytest.mark.parametrize("pattern", ["a b -> a b", "a b -> b a"], ids=["along", "across"])
@pytest.mark.parametrize("above", [0, 1])
@pytest.mark.usefixtures("made_by")
def test_a_word_that_is_the_threshold_is_kept(pattern: str, above: int) -> None:
    words = np.array([reference.word(coin, 7) for coin in range(64)])
    for word in words[:8]:
        came = mapdrop.drop(np.ones((8, 8)), pattern, (word + above) / 2**32, seed=7)
        coins = (words >= word + above).reshape(8, 8)
        assert np.array_equal(came != 0, coins if pattern == "a b -> a b" else coins.T)


@pytest.mark.usefixtures("made_by")
def test_no_warnings_are_raised_by_what_is_dropped() -> None:
    x = np.full(1000, 6e4, np.float16)  # Twice that is infinite.
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        came = mapdrop.drop(x, "n -> n", 0.5, seed=1)
    assert set(came.tolist()) == {0.0, np.inf}


# --- Memory layouts.

LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "last axis first": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -1, 0)), 0, -1),
    "every other": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "padded": lambda x: np.pad(x, [(1, 2)] * x.ndim)[(slice(1, -2),) * x.ndim],
    "backwards": lambda x: x[..., ::-1].copy()[..., ::-1],
    "all backwards": lambda x: np.flip(np.flip(x).copy()),
    "other bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "memory map": lambda x: x.view(np.memmap),
    "unaligned": lambda x: _unaligned(x),
}


def _unaligned(x: Array) -> Array:
    raw = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    return raw


SOME = [  # Padding doubles every axis, so not of thirty.
    case
    for case in (*INDEPENDENT, *EXACT, *BLOCK)
    if 0 < len(case.shape) < 9 and np.prod(case.shape)
]


@pytest.mark.parametrize("case", SOME, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("name", ["float16", "float32"])
@pytest.mark.usefixtures("made_by")
def test_layouts(case: Case, layout: Callable[[Array], Array], name: str) -> None:
    x = layout(checks.inputs(case.shape, DTYPES[name]))
    wanted = checks.expected(case, checks.inputs(case.shape, DTYPES[name]))[1]
    came = mapdrop.drop(x, case.pattern, case.p, **case.options)
    assert came.dtype == x.dtype
    assert checks.same_bits(came.astype(wanted.dtype), wanted)
    if case.p:
        assert type(came) is np.ndarray
        assert came.strides == np.empty_like(x, subok=False).strides
    # In place, and into an array of another layout.
    out = np.empty(x.shape, x.dtype)
    assert mapdrop.drop(x, case.pattern, case.p, out=out, **case.options) is out
    assert checks.same_bits(out.astype(wanted.dtype), wanted)
    into = layout(checks.inputs(case.shape, DTYPES[name]))
    assert mapdrop.drop(into, case.pattern, case.p, inplace=True, **case.options) is into
    assert checks.same_bits(into.astype(wanted.dtype), wanted)


def test_fortran_order_is_kept() -> None:
    x = np.asfortranarray(np.ones((4, 5, 6), np.float32))
    came = mapdrop.drop(x, "b h c -> b c", 0.5, seed=1)
    assert came.flags.f_contiguous
    assert not came.flags.c_contiguous


@st.composite
def _laid_out(draw: st.DrawFn) -> tuple[Array, str]:
    """An array of 1 to 4 axes in any order of memory, with gaps and turns, and a pattern."""
    ndim = draw(st.integers(1, 4))
    shape = draw(st.lists(st.sampled_from([1, 2, 3, 4, 8, 67]), min_size=ndim, max_size=ndim))
    order = draw(st.permutations(range(ndim)))
    steps = [draw(st.sampled_from([1, 1, 1, 2, -1])) for _ in range(ndim)]
    whole = np.zeros([shape[i] * abs(steps[i]) for i in order], np.float32)
    x = whole.transpose(np.argsort(order))[tuple(slice(None, None, s) for s in steps)]
    x[...] = checks.inputs(tuple(shape))
    names = "abcd"[:ndim]
    right = draw(st.permutations(names))[: draw(st.integers(0, ndim))]
    return x, f"{' '.join(names)} -> {' '.join(right)}"


@given(_laid_out(), st.integers(0, 2**64 - 1), st.sampled_from([0.1, 0.5, 1.0]))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_layout(made: tuple[Array, str], seed: int, p: float) -> None:
    x, pattern = made
    dense = x.copy(order="C")
    wanted = mapdrop.mask(pattern, x.shape, p, seed=seed).apply(dense)
    assert checks.same_bits(mapdrop.drop(x, pattern, p, seed=seed), wanted)
    assert checks.same_bits(x.copy(), dense), "the input was written to"
    assert checks.same_bits(mapdrop.drop(x, pattern, p, seed=seed, inplace=True).copy(), wanted)
    if p < 1:
        kept = wanted != 0
        assert np.array_equal(wanted[kept], dense[kept] * np.float32(1 / (1 - p)))


def test_large_arrays_use_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    framework("numba")
    x = checks.inputs((4, 64, 61, 67))
    last = "b c h w -> b h w c"
    for pattern in ("b c h w -> b c", "b c h w -> b", last, "b c h w -> h w", "... -> ..."):
        results = []
        for number in ("1", "2", "3", "4"):
            monkeypatch.setenv("OMP_NUM_THREADS", number)
            results.append(mapdrop.drop(x, pattern, 0.3, seed=2**63 + 1))
        monkeypatch.setattr(kernels, "for_cpu", lambda: None)
        results.append(mapdrop.drop(x, pattern, 0.3, seed=2**63 + 1))
        monkeypatch.undo()
        assert all(checks.same_bits(result, results[0]) for result in results)


@pytest.mark.usefixtures("made_by")
def test_broadcast_input() -> None:
    x = np.broadcast_to(np.float32(3), (4, 6))
    came = mapdrop.drop(x, "b c -> b c", 0.5, seed=1)
    kept = mapdrop.mask("b c -> b c", (4, 6), 0.5, seed=1).coins
    assert np.array_equal(came, np.where(kept, np.float32(6), np.float32(0)))


@pytest.mark.usefixtures("made_by")
def test_read_only_input() -> None:
    x = np.ones((4, 6), np.float32)
    x.flags.writeable = False
    came = mapdrop.drop(x, "b c -> b c", 0.5, seed=1)
    assert came.flags.writeable
    assert (x == 1).all()


@pytest.mark.usefixtures("made_by")
@pytest.mark.parametrize("kind", [np.matrix, np.recarray], ids=["matrix", "records"])
def test_subclasses_give_plain_arrays(kind: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # NumPy's own, of np.matrix.
        x = np.ones((4, 6), np.float32).view(kind)
        came = mapdrop.drop(x, "b c -> b c", 0.5, seed=1)
    assert type(came) is np.ndarray
    plain = mapdrop.drop(np.ones((4, 6), np.float32), "b c -> b c", 0.5, seed=1)
    assert checks.same_bits(came, plain)


@pytest.mark.usefixtures("made_by")
def test_real_memory_map(tmp_path: Path) -> None:
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(4, 6))
    x[...] = 1
    wanted = mapdrop.drop(np.ones((4, 6), np.float32), "b c -> b c", 0.5, seed=1)
    assert mapdrop.drop(x, "b c -> b c", 0.5, seed=1, inplace=True) is x
    assert np.array_equal(np.fromfile(tmp_path / "x", np.float32).reshape(4, 6), wanted)


# --- out= and inplace=.


@pytest.mark.usefixtures("made_by")
@pytest.mark.parametrize("shift", [0, 1, 3, 8])
@pytest.mark.parametrize("forwards", [True, False])
@pytest.mark.parametrize("pattern", ["b c -> b c", "b c -> b"])
def test_out_may_overlap(pattern: str, shift: int, forwards: bool) -> None:
    memory = checks.inputs((2000,))
    places = slice(0, 1600), slice(shift, 1600 + shift)
    one, other = places if forwards else places[::-1]
    x, out = memory[one].reshape(200, 8), memory[other].reshape(200, 8)
    wanted = mapdrop.drop(x.copy(), pattern, 0.5, seed=1)
    assert mapdrop.drop(x, pattern, 0.5, seed=1, out=out) is out
    assert checks.same_bits(out, wanted)


@pytest.mark.usefixtures("made_by")
def test_out_may_be_x_turned() -> None:
    x = checks.inputs((8, 8))
    wanted = mapdrop.drop(x.copy(), "b c -> b c", 0.5, seed=1)
    mapdrop.drop(x, "b c -> b c", 0.5, seed=1, out=x.T)
    assert checks.same_bits(x.T.copy(), wanted)


WRONG_OUT: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "shape": ({"out": np.ones((2, 4), np.float32)}, ValueError, r"shape \(2, 4\) and dtype float"),
    "dtype": ({"out": np.ones((2, 3))}, ValueError, "dtype float64; it must be like x"),
    "byte order": ({"out": np.ones((2, 3), ">f4")}, ValueError, "dtype >f4"),
    "list": ({"out": [[0.0] * 3] * 2}, TypeError, "out is a numpy.ndarray, not list"),
    "one row for all": (
        {"out": np.lib.stride_tricks.as_strided(np.ones(3, np.float32), (2, 3), (0, 4))},
        ValueError,
        "several values in one place",
    ),
    "rows that overlap": (
        {"out": np.lib.stride_tricks.as_strided(np.ones(5, np.float32)[2:], (2, 3), (8, -4))},
        ValueError,
        "several values in one place",
    ),
    "read-only": ({"out": np.broadcast_to(np.float32(0), (2, 3))}, ValueError, "is read-only"),
    "both": ({"out": np.ones((2, 3), np.float32), "inplace": True}, ValueError, "not both"),
}


@pytest.mark.parametrize(("given", "kind", "message"), WRONG_OUT.values(), ids=WRONG_OUT)
@pytest.mark.parametrize("p", [0, 0.5])
def test_wrong_out(given: dict[str, Any], kind: type[Exception], message: str, p: float) -> None:
    with pytest.raises(kind, match=message):
        mapdrop.drop(np.ones((2, 3), np.float32), "b c -> b c", p, seed=1, **given)


def test_in_place_wants_to_write() -> None:
    x = np.broadcast_to(np.float32(1), (2, 3))
    with pytest.raises(ValueError, match="read-only"):
        mapdrop.drop(x, "b c -> b c", 0.5, seed=1, inplace=True)


# --- p = 0, and where a seed comes from.


def _state() -> bytes:
    return pickle.dumps(np.random.get_state())


@pytest.mark.usefixtures("made_by")
@pytest.mark.parametrize("inplace", [False, True])
def test_p_0_is_x_itself_and_draws_nothing(inplace: bool) -> None:
    x = np.full((3, 4), np.nan, np.float32)
    generator = np.random.default_rng(5)
    before = _state(), generator.bit_generator.state
    assert mapdrop.drop(x, "b c -> b", 0, inplace=inplace) is x
    assert mapdrop.drop(x, "b c -> b", 0.0, inplace=inplace, seed=generator) is x
    assert (_state(), generator.bit_generator.state) == before
    # The twin: any other rate draws.
    mapdrop.drop(x, "b c -> b", 1e-9)
    mapdrop.drop(x, "b c -> b", 1e-9, seed=generator)
    assert _state() != before[0]
    assert generator.bit_generator.state != before[1]


def test_p_0_with_out_copies() -> None:
    x, out = checks.inputs((3, 4)), np.zeros((3, 4), np.float32)
    assert mapdrop.drop(x, "b c -> b", 0, out=out) is out
    assert checks.same_bits(out, x)


def test_p_0_still_checks() -> None:
    with pytest.raises(mapdrop.PatternError):
        mapdrop.drop(np.ones((3, 4)), "b h w c -> b c", 0)


def test_fresh_seeds() -> None:
    x = np.ones((64, 64), np.float32)
    state = np.random.get_state()
    first, second = (mapdrop.drop(x, "b c -> b c", 0.5) for _ in range(2))
    assert not np.array_equal(first, second)
    np.random.set_state(state)
    assert np.array_equal(mapdrop.drop(x, "b c -> b c", 0.5), first)
    np.random.seed(3)
    other = mapdrop.drop(x, "b c -> b c", 0.5)
    assert not np.array_equal(other, first)


def test_generators() -> None:
    x = np.ones((64, 64), np.float32)
    generators = [np.random.default_rng(5), np.random.default_rng(5)]
    before = _state()
    first, same = (mapdrop.drop(x, "b c -> b c", 0.5, seed=g) for g in generators)
    assert np.array_equal(first, same)
    assert not np.array_equal(mapdrop.drop(x, "b c -> b c", 0.5, seed=generators[0]), first)
    assert _state() == before


# --- What is refused.

WRONG: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "integers": (np.ones(3, np.int64), {}, TypeError, r"not on int64: kept values are scaled"),
    "unsigned": (np.ones(3, np.uint8), {}, TypeError, r"not on uint8.*astype\(numpy\.float32\)"),
    "bool": (np.ones(3, bool), {}, TypeError, "not on bool"),
    "objects": (np.ones(3, object), {}, TypeError, "not on object"),
    "float8": (np.ones(3, ml_dtypes.float8_e4m3fn), {}, TypeError, "not on float8_e4m3fn"),
    "list": ([1.0, 2.0], {}, TypeError, r"works on numpy\.ndarray.*not on builtins\.list"),
    "number": (1.0, {}, TypeError, r"not on builtins\.float.*numpy\.asarray"),
    "numpy number": (np.float32(1), {}, TypeError, r"not on numpy\.float32"),
    "rate nan": (np.ones(3), {"p": float("nan")}, ValueError, "not nan"),
    "rate below 0": (np.ones(3), {"p": -0.5}, ValueError, r"not -0\.5"),
    "rate above 1": (np.ones(3), {"p": 1.5}, ValueError, r"not 1\.5"),
    "rate text": (np.ones(3), {"p": "0.5"}, TypeError, r"not '0\.5'"),
    "rate True": (np.ones(3), {"p": True}, TypeError, "not True"),
    "rate False": (np.ones(3), {"p": False}, TypeError, "not False"),
    "rate None": (np.ones(3), {"p": None}, TypeError, "not None"),
    "rank": (np.ones((3, 2)), {}, mapdrop.PatternError, r"names 1 axes, the array has 2"),
    "seed": (np.ones(3), {"seed": -1}, ValueError, "not -1"),
    "seed text": (np.ones(3), {"seed": "7"}, TypeError, "not '7' of type str"),
    "step": (np.ones(3), {"step": 2**64}, ValueError, f"not {2**64}"),
    "stream": (np.ones(3), {"stream": b"drop"}, TypeError, "not b'drop'"),
    "sizes": (np.ones(3), {"n": 4}, mapdrop.PatternError, "array's axis has 3"),
}


@pytest.mark.parametrize(("x", "changed", "kind", "message"), WRONG.values(), ids=WRONG)
def test_refused(x: Any, changed: dict[str, Any], kind: type[Exception], message: str) -> None:
    for p in (0, 1):  # Equal to False and True, and already planned.
        mapdrop.drop(np.ones(3), "n -> n", p, seed=1)
    with pytest.raises(kind, match=message):
        mapdrop.drop(x, **{"pattern": "n -> n", "p": 0.5, "seed": 1, **changed})


def test_out_is_not_written_where_refused() -> None:
    out = np.full(3, 7.0)
    with pytest.raises(ValueError, match="not -1"):
        mapdrop.drop(np.ones(3), "n -> n", 0.5, seed=-1, out=out)
    assert (out == 7).all()


@dtypes
def test_in_place_the_kernels_see_one_array(
    dtype: np.dtype[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two that may overlap, compiled code is not vectorised."""
    framework("numba")
    fast: Any = kernels.for_cpu()
    seen: list[bool] = []
    whole = fast.elements

    def watched(x: Any, y: Any, *rest: Any) -> Any:
        seen.append(x is y)
        return whole(x, y, *rest)

    monkeypatch.setattr(fast, "elements", watched)
    x = np.ones(10_000, dtype)  # Fewer values go another way.
    mapdrop.drop(x, "n -> n", 0.5, inplace=True)
    mapdrop.drop(x, "n -> n", 0.5)
    assert seen == [True, False]

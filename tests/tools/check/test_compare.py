"""What the check is made of: each guard, and a twin that it must reject."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapdrop
from mapdrop.tools import subprocesses as processes
from mapdrop.tools.adapters import numpy as by_numpy
from mapdrop.tools.adapters.adapter import Drop, UnavailableError, at_step
from mapdrop.tools.adapters.bits import canonical, from_floats, to_floats
from mapdrop.tools.check import compare as comparing
from mapdrop.tools.check import process
from mapdrop.tools.check.cases import Case, large, values, vectors
from mapdrop.tools.check.compare import compare, difference, laid_out
from mapdrop.tools.check.report import show
from mapdrop.tools.check.rows import DIFFERS, SAME, Row, disagreements
from mapdrop.tools.check.run import Outcome
from mapdrop.tools.installed import Installed
from tests.conftest import framework

Array = Any


def _other_seed(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return mapdrop.drop(x, pattern, p, **{**options, "seed": options["seed"] ^ 1})


def _unscaled(x: Array, pattern: str, p: float, **options: Any) -> Array:
    return mapdrop.drop(x, pattern, p, **{**options, "scale": None})


def _negative_zeros(x: Array, pattern: str, p: float, **options: Any) -> Array:
    y = mapdrop.drop(x, pattern, p, **options)
    return np.where(y == 0, -y, y).astype(x.dtype)


def _one_bit(x: Array, pattern: str, p: float, **options: Any) -> Array:
    y = mapdrop.drop(x, pattern, p, **options)
    bits = y.reshape(-1).view(f"u{y.itemsize}")
    bits[y.reshape(-1) != 0] ^= 1
    return bits.view(y.dtype).reshape(y.shape)


BROKEN: dict[str, tuple[Callable[..., Array], str]] = {
    "identity": (lambda x, *_, **__: x, "it is"),
    "other seed": (_other_seed, "it is"),
    "unscaled": (_unscaled, "it is"),
    "-0": (_negative_zeros, "it is -0 instead of 0"),
    "one bit": (_one_bit, "it is"),
    "wider": (lambda x, *a, **k: mapdrop.drop(x, *a, **k).astype("f8"), "have 64 bits, not "),
    "flat": (lambda x, *a, **k: mapdrop.drop(x, *a, **k)[None], "the shape is (1, "),
}


class Dropping(by_numpy.Adapter):
    """NumPy with another drop."""

    def __init__(self, dropping: Callable[..., Array]) -> None:
        super().__init__()
        self.dropping = dropping

    def drop(self, pattern: str, p: float, options: Mapping[str, Any], dtype: str) -> Drop:
        return lambda x: self.dropping(x, pattern, p, **options)


def checked(drop: Callable[..., Array], cases: list[Case], quick: bool = False) -> Row:
    return compare(Dropping(drop), "plain", cases, cases[0], quick)


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    monkeypatch.setattr(comparing, "ROUNDS", 1)
    return [*vectors(), *values()]


def test_mapdrop_is_accepted(cases: list[Case]) -> None:
    row = checked(mapdrop.drop, cases)
    assert (row.status, row.vectors, row.differs) == (SAME, (97, 97), {})
    assert row.values[0] == row.values[1] >= 8
    assert checked(mapdrop.drop, cases, quick=True).vectors == (7, 7)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_drops_are_rejected(name: str, cases: list[Case]) -> None:
    drop, words = BROKEN[name]
    row = checked(drop, cases)
    assert row.status == DIFFERS
    assert row.wrong
    assert row.vectors[0] < row.vectors[1] or (name == "-0" and row.values[0] < row.values[1])
    assert any(words in fault for fault in row.differs.values())
    good = checked(mapdrop.drop, cases)
    assert row.digests != good.digests or name in ("wider", "flat")


def test_what_is_compiled_takes_the_step_when_it_runs(cases: list[Case]) -> None:
    """Else a compiler may work the mask out beforehand: then another than the device's is seen."""
    case, x = cases[0], np.ones(cases[0].x.shape, np.float32)
    plain = by_numpy.Adapter()
    run = at_step([plain.drop(case.pattern, case.p, case.options, case.dtype)])
    for step in (0, 3):
        wanted = mapdrop.drop(x, case.pattern, case.p, **{**case.options, "step": step})
        assert np.array_equal(run([x], step)[0], wanted)
    assert not np.array_equal(run([x], 0)[0], run([x], 3)[0])
    assert all("step" not in case.options for case in cases if case.common)


def test_layouts_are_what_they_say(cases: list[Case]) -> None:
    plain = by_numpy.Adapter()
    for case in cases:
        x = (
            laid_out(case, plain)
            if case.dtype != "bfloat16" or "bfloat16" in plain.dtypes
            else None
        )
        if x is None:
            continue
        assert np.array_equal(plain.to_bits(x), case.x)
        assert x.flags.c_contiguous == (case.memory == "dense") or x.size < 2
    assert {case.memory for case in cases} == {"dense", "turned", "sliced"}


def test_the_large_case_has_a_million_coins() -> None:
    case = large()
    assert case.x.size == 2**20
    assert difference(case, case.expected) == ""
    dropped = (to_floats(case.expected, "float32") == 0).mean()
    assert abs(dropped - case.p) < 0.002


def test_bfloat16_is_rounded_as_ml_dtypes_does() -> None:
    bfloat16 = framework("ml_dtypes").bfloat16
    every = np.arange(2**16, dtype=np.uint16)
    floats = to_floats(every, "bfloat16")
    assert np.array_equal(
        canonical(from_floats(floats, "bfloat16"), "bfloat16"), canonical(every, "bfloat16")
    )
    raw = np.random.default_rng(0).integers(0, 2**32, 10**5, np.uint32)
    raw[::3] = raw[::3] & 0xFFFF_0000 | 0x8000  # Ties.
    some = raw.view(np.float32)
    with np.errstate(invalid="ignore"):
        wanted = some.astype(bfloat16).view(np.uint16)
    assert np.array_equal(
        canonical(from_floats(some, "bfloat16"), "bfloat16"), canonical(wanted, "bfloat16")
    )


def test_every_nan_is_one_and_infinity_is_none() -> None:
    halves = np.array([0x7E00, 0xFE01, 0x7C01, 0x7C00, 0xFC00], np.uint16)
    assert canonical(halves, "float16").tolist() == [0x7C01] * 3 + [0x7C00, 0xFC00]


def test_two_that_disagree_fail_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is the specification's by its own account."""
    one = Row("numpy", "cpu", mode="plain", digests={"masks": "a" * 16, "float32": "b" * 16})
    two = replace(one, framework="torch", mode="eager", digests={"masks": "c" * 16})
    assert Outcome((one, replace(one, framework="jax"))).ok
    outcome = Outcome((one, two))
    assert not outcome.ok
    assert disagreements(outcome.rows) == {
        "masks": {"a" * 16: ["numpy cpu plain"], "c" * 16: ["torch cpu eager"]}
    }
    show(outcome)
    assert "masks: not the same bits everywhere" in capsys.readouterr().out


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "jax.py").write_text("import time\ntime.sleep(60)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(processes, "LIMIT", 3)
    steps: list[str] = []
    (row,) = process.check(Installed("jax", "jax"), True, steps.append)
    assert row.wrong
    assert "importing: killed after 3 seconds" in row.reason
    assert steps == ["jax: importing"]


def test_a_missing_numba_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(UnavailableError, match=r'pip install "mapdrop\[numba\]"'):
        by_numpy.Adapter().program("Numba", [])


def test_a_missing_compiler_is_no_failure_and_anything_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = framework("torch")
    from torch._inductor.exc import InvalidCxxCompiler

    from mapdrop.tools.adapters.torch import Adapter

    def run(problem: Exception) -> None:
        def compiled(xs: Sequence[Any]) -> Any:
            raise problem

        monkeypatch.setattr(torch, "compile", lambda *_, **__: compiled)
        Adapter().program("torch.compile", [])([])

    with pytest.raises(UnavailableError, match=r"install g\+\+"):
        run(InvalidCxxCompiler())
    with pytest.raises(RuntimeError, match="another"):
        run(RuntimeError("another"))

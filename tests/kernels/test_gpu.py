"""The GPU kernels: in Triton's interpreter against the specification, and compiled for a GPU."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mapdrop.backends.torch import gpu
from mapdrop.backends.torch.text import bound_to
from mapdrop.kernels import for_gpu
from tests import process

CASES = Path(__file__).with_name("interpreted.py")
STREAM = {f"s{i}": "i32" for i in range(4)}
FLAGS = {"BLOCKS": 256, "STREAM": True, "STEP": True}
LOOPS = {**{f"n{i}": "i32" for i in range(5)}, **{f"t{i}": "i32" for i in range(5)}}


@pytest.mark.subprocess
def test_in_the_interpreter_every_bit_is_the_specifications() -> None:
    """In a process of its own: the interpreter has to be asked for before Triton is imported."""
    done = process.run(CASES, "-p", "no:xdist", TRITON_INTERPRET="1", OMP_NUM_THREADS="1")
    process.check_passed(done, CASES, 100)


def compiled(name: str, signature: dict[str, str], constants: Mapping[str, object]) -> str:
    """A kernel's PTX for an H100's generation; no such device needs to be here."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mapdrop.kernels import gpu

    kernel = getattr(gpu, name)
    types = {a: "constexpr" if a in constants else signature[a] for a in kernel.arg_names}
    aligned = {(place,): [["tt.divisibility", 16]] for place, a in enumerate(types)
               if types[a].startswith("*") or a == "count"}  # fmt: skip
    source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=aligned)
    ptx: str = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    return ptx


@pytest.fixture(autouse=True)
def decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton 3.9 warns unless this is said; no sum in these kernels could be fused."""
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "0")


@pytest.mark.parametrize("lead", [0, 3])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "i16"])
def test_elements_compile_for_a_gpu(dtype: str, lead: int) -> None:
    pointers = {"x": f"*{dtype}", "out": f"*{dtype}", "seed_tensor": "*i64"}
    numbers = {"first": "i64", "count": "i32", "threshold": "i64", "scale": "fp32"}
    ptx = compiled("_elements", {**pointers, **STREAM, **numbers}, {"LEAD": lead, **FLAGS})
    assert "mul.hi.u32" in ptx
    # Four values, or eight halves, at a time; coins that start inside a block can't be.
    wide = re.findall(r"(ld|st)\.global[.\w]*\.v4", ptx)
    assert (set(wide) == {"ld", "st"}) == (lead == 0)


@pytest.mark.parametrize("count", ["i32", "i64"])
def test_drawing_compiles_for_a_gpu(count: str) -> None:
    types = {"out": "*i8", "seed_tensor": "*i64", **STREAM, "count": count, "threshold": "i64"}
    assert "mul.hi.u32" in compiled("_draw", types, FLAGS)


def test_packing_compiles_for_a_gpu() -> None:
    types = {"out": "*i32", "seed_tensor": "*i64", **STREAM, "count": "i32", "threshold": "i64"}
    ptx = compiled("_pack", types, FLAGS)
    assert "mul.hi.u32" in ptx
    assert re.search(r"st\.global[.\w]*\.b32", ptx)


def test_clearing_compiles_for_a_gpu() -> None:
    numbers = dict.fromkeys(("count", "inner", "n", "first", "last", "before", "after"), "i32")
    ptx = compiled("_clear", {"source": "*i8", "out": "*i8", **numbers}, {"VALUES": 1024})
    assert "st.global" in ptx


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "i16"])
def test_applying_compiles_for_a_gpu(dtype: str, large: bool) -> None:
    pointers = {"x": f"*{dtype}", "out": f"*{dtype}", "coins": "*i8"}
    types = {**pointers, "count": "i64" if large else "i32", "scale": "fp32", **LOOPS}
    ptx = compiled("_apply", types, {"LARGE": large, "VALUES": 1024})
    assert bool(re.search(r"(rem|div)\.[us]64", ptx)) == large


def test_tensorflow_that_came_first_means_plain_operations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    assert for_gpu.__wrapped__() is not None
    monkeypatch.delitem(sys.modules, "triton")
    with pytest.warns(RuntimeWarning, match="import triton first"):
        assert for_gpu.__wrapped__() is None
    monkeypatch.delitem(sys.modules, "tensorflow")
    assert for_gpu.__wrapped__() is not None


def test_the_cpu_keeps_its_own_kernels() -> None:
    bound = bound_to((2, 3), "b c -> b c", 0.5, "")
    assert not gpu.fits(torch.ones(2, 3), bound)
    assert not gpu.fits(torch.ones(2, 3, device="meta"), bound)

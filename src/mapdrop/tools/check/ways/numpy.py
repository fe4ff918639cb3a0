"""NumPy, plainly and by the kernels that Numba compiles."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from mapdrop import kernels
from mapdrop.tools.check.bits import Bits
from mapdrop.tools.check.ways.way import Step, UnavailableError, Way, one_by_one


def versions() -> dict[str, str]:
    """Of what takes part."""
    numba = importlib.util.find_spec("numba") is not None
    return {
        "numpy": np.__version__,
        **({"numba": importlib.metadata.version("numba")} if numba else {}),
    }


def ways() -> Iterator[Way]:
    """Without Numba, then with it."""
    types = {"float32": np.float32, "float16": np.float16}
    if importlib.util.find_spec("ml_dtypes"):
        types["bfloat16"] = importlib.import_module("ml_dtypes").bfloat16

    def array(bits: Bits, dtype: str) -> Any:
        return bits.copy().view(types[dtype])

    plain = Way("plain", array, _bits, permute=np.transpose, dtypes=tuple(types))
    with _without_numba():
        yield plain
    yield replace(plain, mode="Numba", together=_with_numba)


def _bits(y: Any) -> Bits:
    return np.asarray(y).view(f"u{y.dtype.itemsize}")


def _with_numba(steps: Sequence[Step]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """mapdrop does without a Numba that does not import; here it is asked for."""
    if importlib.util.find_spec("numba") is None:
        raise UnavailableError('Numba is not installed: pip install "mapdrop[numba]"')
    importlib.import_module("numba")
    return one_by_one(steps)


@contextmanager
def _without_numba() -> Iterator[None]:
    """Nobody in this process finds Numba, which nobody has imported yet."""
    sys.modules["numba"] = None  # type: ignore[assignment]
    kernels.for_cpu.cache_clear()
    try:
        yield
    finally:
        del sys.modules["numba"]
        kernels.for_cpu.cache_clear()

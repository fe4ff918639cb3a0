"""NumPy: plainly, and by the kernels that Numba compiles."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

import mapdrop
from mapdrop import kernels
from mapdrop.spec.mask_spec import forget_specs
from mapdrop.tools.adapters import adapter as base
from mapdrop.tools.adapters.adapter import Array, Drop, Program, UnavailableError, Work
from mapdrop.tools.adapters.bits import Bits
from mapdrop.tools.drop_kinds import DropKind

_TYPES: dict[str, Any] = {"float32": np.float32, "float16": np.float16}
if importlib.util.find_spec("ml_dtypes"):
    _TYPES["bfloat16"] = importlib.import_module("ml_dtypes").bfloat16


class Adapter(base.Adapter):
    """NumPy, against what one writes by hand. It has no gradients."""

    modes: tuple[str, ...] = ("plain", "Numba")
    dtypes: tuple[str, ...] = tuple(_TYPES)
    strided = True
    gradients = False

    @staticmethod
    def versions() -> dict[str, str]:
        """See `Adapter`."""
        numba = importlib.util.find_spec("numba") is not None
        return {
            "numpy": np.__version__,
            **({"numba": importlib.metadata.version("numba")} if numba else {}),
        }

    def to_array(self, bits: Bits, dtype: str) -> Array:
        """See `Adapter`."""
        return bits.copy().view(_TYPES[dtype])

    def to_bits(self, array: Array) -> Bits:
        """See `Adapter`."""
        return np.asarray(array).view(f"u{array.dtype.itemsize}")

    def permute(self, array: Array, axes: tuple[int, ...]) -> Array:
        """See `Adapter`."""
        return np.transpose(array, axes)

    def program(self, mode: str, drops: Sequence[Drop]) -> Program:
        """See `Adapter`. mapdrop does without a Numba that can't be imported; here it is needed."""
        run = base.one_by_one(drops)
        if mode == "Numba":
            if importlib.util.find_spec("numba") is None:
                raise UnavailableError('Numba is not installed: pip install "mapdrop[numba]"')
            importlib.import_module("numba")
            return run

        def without_kernels(arrays: Sequence[Array]) -> Sequence[Array]:
            forget_specs()  # They remember which kernels drop them.
            try:
                with patch.object(kernels, "for_cpu", return_value=None):
                    return run(arrays)
            finally:
                forget_specs()

        return without_kernels

    def random(self, size: tuple[int, ...], dtype: str, layout: str) -> Array:
        """See `Adapter`."""
        return np.random.default_rng(0).standard_normal(size, dtype=np.float32)

    def ours(self, kind: DropKind, size: tuple[int, ...]) -> Drop:
        """See `Adapter`."""
        return lambda x: mapdrop.drop(x, kind.last, kind.p)

    def peers(self, kind: DropKind, size: tuple[int, ...]) -> dict[str, Drop]:
        """See `Adapter`."""
        rng, p, scale = np.random.default_rng(1), kind.p, np.float32(1 / (1 - kind.p))
        shape = kind.mask_shape(size)
        return {"numpy.where": lambda x: np.where(rng.random(shape) >= p, x * scale, 0)}

    def work(self, drop: Drop, array: Array, backward: bool) -> Work:
        """See `Adapter`."""
        run = partial(drop, array)
        return Work(run, partial(_peak, run))

    def copy(self, array: Array, passes: int) -> tuple[str, Work]:
        """See `Adapter`."""
        old = np.empty_like(array)
        return "a copy", Work(lambda: np.copyto(old, array))


def _peak(run: Callable[[], object]) -> int:
    """Return the most bytes of arrays, of which NumPy tells tracemalloc."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

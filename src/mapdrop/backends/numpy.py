"""drop() for NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.backends import host
from mapdrop.backends.unsupported import unsupported
from mapdrop.spec import seed as seeds
from mapdrop.spec.mask_spec import BoundSpec, Items, plan
from mapdrop.spec.pattern import Pattern

# What the compiled kernels take each dtype as; bfloat16 is ml_dtypes', known by its name.
_CARRIERS = {"float16": np.uint16, "bfloat16": np.int16, "float32": None, "float64": None}

_DTYPES = (*_CARRIERS, "complex64", "complex128")


def drop(
    x: NDArray[Any],
    pattern: str | Pattern,
    p: float,
    *,
    seed: Any,
    stream: str | None,
    step: Any,
    exact: str | None,
    balance: str | None,
    block: Items,
    region: str,
    scale: str | None,
    inplace: bool,
    out: NDArray[Any] | None,
    sizes: Items,
) -> NDArray[Any]:
    """See `mapdrop.drop`."""
    _check_dtype(x)
    asked = plan(pattern, x.shape, p, exact, balance, block, region, scale, sizes)
    target = _target(x, inplace, out)
    if asked.law.p == 0:
        if target is None or target is x:
            return x
        np.copyto(target, x)
        return target
    key = seeds.key(draw_seed(seed), seeds.check_stream(stream))
    number = seeds.whole(step, "step")
    made = np.empty_like(x, subok=False) if target is None else target
    # Subclasses have shapes of their own: np.matrix stays flat in two dimensions.
    for out, source in zip(_parts(np.asarray(made)), _parts(np.asarray(x)), strict=True):
        if x.size:
            _drop_into(out, source, asked, key, number)
    return made


def draw_seed(seed: Any) -> int:
    """A checked seed; None and generators of numpy.random are drawn from."""
    if seed is None:
        return int(np.random.randint(0, 2**64, dtype=np.uint64))
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(0, 2**64, dtype=np.uint64))
    return seeds.whole(seed, "seed")


def apply(x: NDArray[Any], mask: Any) -> NDArray[Any]:
    """A `mapdrop.Mask` applied to x."""
    _check_dtype(x)
    made = np.empty_like(x, subok=False)
    for out, source in zip(_parts(made), _parts(np.asarray(x)), strict=True):
        out[...] = _broadcast(source, mask.binding, mask.coins, mask.scale)
    return made


def _parts(x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Real and imaginary part, which lie in the memory of a complex array; else the array."""
    return (x.real, x.imag) if x.dtype.kind == "c" else (x,)


def traced(_: NDArray[Any]) -> bool:
    """Whether compiled code keeps what Python said: there is none."""
    return False


def _drop_into(out: NDArray[Any], x: NDArray[Any], asked: BoundSpec, key: int, step: int) -> None:
    threads = host.threads()
    if x.dtype.isnative and host.compiled(asked, x.dtype.name):
        carrier = _CARRIERS[x.dtype.name]
        if out is not x and np.may_share_memory(x, out):
            np.copyto(out, x)  # The kernels write where they have read, and nowhere else.
            x = out
        target = out if carrier is None else out.view(carrier)
        source = x if carrier is None else x.view(carrier)
        host.drop_into(target, target if x is out else source, asked, key, step, threads)
        return
    coins = host.coins(asked, key, step, threads)
    np.copyto(out, _broadcast(x, asked.binding, coins, asked.factor(coins)))


def _broadcast(x: NDArray[Any], binding: Any, coins: Any, scale: Any) -> NDArray[Any]:
    """x where the coins keep it, times the scale: the definition, by NumPy's broadcasting."""
    wide = np.float64 if x.dtype == np.float64 else np.float32
    whole = binding.whole
    order, lined_up = whole.lineup
    kept = host.repeated(coins, binding).transpose(order).reshape(lined_up)
    if isinstance(scale, np.ndarray):
        scale = np.broadcast_to(scale, coins.shape)
        scale = host.repeated(scale, binding).transpose(order).reshape(lined_up)
    with np.errstate(over="ignore", invalid="ignore"):
        values = x.astype(wide, copy=False).reshape(whole.factors) * np.asarray(scale, wide)
        dropped = np.where(kept, values.astype(x.dtype, copy=False), np.zeros((), x.dtype))
    return dropped.reshape(x.shape)


def _target(x: NDArray[Any], inplace: bool, out: NDArray[Any] | None) -> NDArray[Any] | None:
    if inplace and out is not None:
        raise ValueError("inplace=True writes into x: give it or out=, not both")
    target = x if inplace else out
    if target is None:
        return None
    if not isinstance(target, np.ndarray):
        raise TypeError(f"out is a numpy.ndarray, not {type(target).__name__}")
    if target.shape != x.shape or target.dtype != x.dtype:
        raise ValueError(
            f"out has shape {target.shape} and dtype {target.dtype}; "
            f"it must be like x, {x.shape} and {x.dtype}"
        )
    if not target.flags.writeable:
        raise ValueError("the array to write into is read-only: leave out inplace= and out=")
    if host.overlapping(target.shape, target.strides):
        raise ValueError(
            "the array to write into has several values in one place of memory, as a broadcast "
            "array has: leave out inplace= and out=, or give it memory of its own by .copy()"
        )
    return target


def _check_dtype(x: NDArray[Any]) -> None:
    if isinstance(x, np.ma.MaskedArray):
        raise unsupported(x)
    if x.dtype.name not in _DTYPES:
        raise TypeError(
            f"mapdrop works on {', '.join(_DTYPES)}, not on {x.dtype}: kept values are scaled, "
            "which needs floats; x.astype(numpy.float32) makes them"
        )

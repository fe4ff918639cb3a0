"""drop() for NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.backends import cpu
from mapdrop.backends.small_drop import CARRIERS, SmallDrop, small_drop
from mapdrop.backends.unsupported import unsupported
from mapdrop.spec import seed as seeds
from mapdrop.spec.branch import check_arrays, check_branch, check_inputs
from mapdrop.spec.mask_spec import BoundSpec, MaskSpec
from mapdrop.spec.mask_spec import mask_spec as mask_spec
from mapdrop.system.cores import usual_threads

_DTYPES = (*CARRIERS, "complex64", "complex128")


def drop(
    x: NDArray[Any],
    spec: MaskSpec,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
    inplace: bool = False,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """See `mapdrop.drop`."""
    plain = type(x) is np.ndarray and x.flags.aligned and not inplace and out is None
    if plain and (small := _small(x, spec)):
        key = seeds.draw_key(seed, stream)
        number = step if step.__class__ is int and step == 0 else seeds.check_uint64(step, "step")
        made = np.empty_like(x)
        data = x.__array_interface__["data"][0], made.__array_interface__["data"][0]
        small(*data, key, number)
        return made
    _check_dtype(x)
    bound = spec.bind(x.shape)
    target = _target(x, inplace, out)
    if spec.p == 0:
        if target is None or target is x:
            return x
        np.copyto(target, x)
        return target
    key = seeds.draw_key(seed, stream)
    number = seeds.check_uint64(step, "step")
    made = np.empty_like(x, subok=False) if target is None else target
    # Subclasses have their own rules for shapes: an np.matrix always has two axes.
    for out, source in zip(_parts(np.asarray(made)), _parts(np.asarray(x)), strict=True):
        if x.size:
            _drop_into(out, source, bound, key, number)
    return made


def residual(
    branch: Callable[..., NDArray[Any]],
    x: NDArray[Any],
    inputs: tuple[NDArray[Any], ...],
    spec: MaskSpec,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
) -> NDArray[Any]:
    """See `mapdrop.residual`."""
    rows = spec.rows
    check_arrays(inputs, (np.ndarray, np.generic))
    check_inputs(x.shape, [other.shape for other in inputs])
    spec.bind(x.shape, warn=False)  # For its checks.
    factors = drop(np.ones(len(x)), rows, seed=seed, stream=stream, step=step)
    kept = np.flatnonzero(factors)
    given = x[kept]
    came = branch(given, *(other[kept] for other in inputs))
    check_branch(np.shape(came), given.shape)
    _check_dtype(came)
    made = x.astype(np.result_type(x, came))
    made[kept] += _scaled(came, factors[kept])
    return made


def _scaled(x: NDArray[Any], factors: NDArray[np.float64]) -> NDArray[Any]:
    """Return x times a factor for each index of its first axis."""
    wide = np.float64 if x.dtype in (np.float64, np.complex128) else np.float32
    each = factors.astype(wide).reshape(-1, *[1] * (x.ndim - 1))
    product: NDArray[Any] = (x * each).astype(x.dtype, copy=False)
    return product


def _small(x: NDArray[Any], spec: MaskSpec) -> SmallDrop | None:
    """Return a drop of few values for arrays of this layout, if there is one."""
    layout = x.shape, x.strides, x.dtype
    found: SmallDrop | None = spec.memo.get(layout)
    if found is None and layout not in spec.memo:
        if spec.p > 0 and x.dtype.isnative and x.dtype.name in CARRIERS:
            found = small_drop(spec.bind(x.shape, warn=False), x.strides, x.dtype.name)
        spec.remember(spec.memo, layout, found)
    return found


def apply(x: NDArray[Any], mask: Any) -> NDArray[Any]:
    """Apply a `mapdrop.Mask` to x."""
    _check_dtype(x)
    made = np.empty_like(x, subok=False)
    for out, source in zip(_parts(made), _parts(np.asarray(x)), strict=True):
        out[...] = _broadcast(source, mask.binding, mask.coins, mask.scale)
    return made


def _parts(x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return views of the real and the imaginary part, or the array if it is real."""
    return (x.real, x.imag) if x.dtype.kind == "c" else (x,)


def traced(_: NDArray[Any]) -> bool:
    """Whether x is traced: never, NumPy has no compiled code."""
    return False


def _drop_into(out: NDArray[Any], x: NDArray[Any], bound: BoundSpec, key: int, step: int) -> None:
    threads = usual_threads()
    if x.dtype.isnative and cpu.compiled(bound, x.dtype.name):
        carrier = CARRIERS[x.dtype.name]
        if out is not x and np.may_share_memory(x, out):
            np.copyto(out, x)  # The kernels write where they have read, and nowhere else.
            x = out
        target, source = out.view(carrier), x.view(carrier)
        cpu.drop_into(target, target if x is out else source, bound, key, step, threads)
        return
    np.copyto(out, _broadcast(x, bound.binding, *cpu.drawn(bound, key, step, threads)))


def _broadcast(x: NDArray[Any], binding: Any, coins: Any, scale: Any) -> NDArray[Any]:
    """Return x times the scale where the coins keep it, and 0 elsewhere: the definition."""
    wide = np.float64 if x.dtype == np.float64 else np.float32
    ungrouped = binding.ungrouped
    order, lined_up = ungrouped.lineup
    kept = cpu.repeated(coins, binding).transpose(order).reshape(lined_up)
    if isinstance(scale, np.ndarray):
        scale = np.broadcast_to(scale, coins.shape)
        scale = cpu.repeated(scale, binding).transpose(order).reshape(lined_up)
    with np.errstate(over="ignore", invalid="ignore"):
        values = x.astype(wide, copy=False).reshape(ungrouped.factors) * np.asarray(scale, wide)
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
    if cpu.overlapping(target.shape, target.strides):
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

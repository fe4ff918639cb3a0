"""drop() for PyTorch tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from mapdrop.backends.torch import eager_cpu
from mapdrop.backends.torch._internals import function_transforms, is_tracing
from mapdrop.backends.torch.apply import broadcast
from mapdrop.backends.torch.autodiff import dropped, dropped_in_place
from mapdrop.backends.torch.rows import (
    add_rows,
    check_rows,
    counted,
    kept_rows,
    scaled,
    take_rows,
)
from mapdrop.backends.torch.seeds import seed_tensor
from mapdrop.backends.torch.sharding import distributed, drop_local, held
from mapdrop.backends.torch.text import (
    TextSpec,
    arguments,
    option_text,
    read_spec,
    text_spec,
)
from mapdrop.backends.unsupported import unsupported
from mapdrop.spec import mask_spec as specs
from mapdrop.spec import seed as seeds
from mapdrop.spec.branch import check_arrays, check_branch, check_inputs
from mapdrop.spec.local_spec import bound_locally
from mapdrop.spec.mask_spec import MaskSpec
from mapdrop.spec.pattern import Pattern

_DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex32,
    torch.complex64,
    torch.complex128,
)


def mask_spec(pattern: str | Pattern, p: Any, *options: Any) -> MaskSpec | TextSpec:
    """Return the spec of these arguments; as text under torch.compile."""
    if torch.compiler.is_compiling():
        text = pattern.text if isinstance(pattern, Pattern) else pattern
        return TextSpec(text, p, option_text(options))
    return specs.mask_spec(pattern, p, *options)


def drop(
    x: Tensor,
    spec: MaskSpec | TextSpec,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
    inplace: bool = False,
    out: Any = None,
) -> Tensor:
    """See `mapdrop.drop`."""
    if out is not None:
        raise TypeError("out= is for NumPy arrays; for a tensor use inplace=True")
    if isinstance(spec, MaskSpec) and eager_cpu.takes(x):
        return eager_cpu.drop(x, spec, seed, seeds.check_stream(stream), step, inplace)
    if isinstance(x, Proxy):
        return _recorded(x, spec, seed, stream=stream, step=step, inplace=inplace)
    if distributed(x):
        again = partial(drop, spec=spec, stream=stream, step=step, inplace=inplace)
        local: Tensor = drop_local(x, seed, again)
        return local
    return _dispatched(x, spec, seed, stream, step, inplace)


def residual(
    branch: Callable[..., Tensor],
    x: Tensor,
    inputs: tuple[Tensor, ...],
    spec: MaskSpec | TextSpec,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
) -> Tensor:
    """See `mapdrop.residual`."""
    text = text_spec(spec) if isinstance(spec, MaskSpec) else spec
    compiling, limited = torch.compiler.is_compiling(), counted(text.options)
    if isinstance(spec, MaskSpec):
        _ = spec.rows  # For its check, and for the next one.
    else:
        check_rows(spec.pattern, spec.options)
    check_arrays(inputs, (Tensor, Proxy))
    check_inputs(_shape(x), [_shape(other) for other in inputs])
    if spec.p == 0 or not ((compiling and limited) or _countable(x)):
        came = drop(branch(x, *inputs), spec, seed=seed, stream=stream, step=step)
        check_branch(_shape(came), _shape(x))
        return x + came
    known = limited and (compiling or not x.is_cpu)
    given = arguments(text, seeds.check_stream(stream), held(x.dim()))
    kept, factors = kept_rows(seed_tensor(x, seed, step), given, tuple(x.shape), known)
    taken = take_rows(x, 0, kept)
    came = branch(taken, *[take_rows(other, 0, kept) for other in inputs])
    _check_dtype(came)
    check_branch(came.shape, taken.shape)
    dtype = torch.promote_types(x.dtype, came.dtype)
    return add_rows(x.to(dtype), 0, kept, scaled(came, factors, known).to(dtype))


def _shape(x: Tensor) -> tuple[int | None, ...]:
    """Return the shape of x; one size that is not known, where it is what a trace records."""
    if torch.compiler.is_compiling():
        return x.shape
    return (None,) if isinstance(x, Proxy) or is_tracing() else x.shape


def _countable(x: Tensor) -> bool:
    """Return whether the kept samples of x can be counted: it has values, and nobody traces it."""
    if torch.compiler.is_compiling() or function_transforms() or is_tracing():
        return False
    return type(x) in (Tensor, nn.Parameter) and not x.is_meta and type(x.new_empty(0)) is Tensor


def _dispatched(
    x: Tensor, spec: MaskSpec | TextSpec, seed: Any, stream: str | None, step: Any, inplace: bool
) -> Tensor:
    """Drop a tensor that is on another device, is a subclass, is traced or compiled."""
    _check_dtype(x)
    shards = held(x.dim())
    given = arguments(spec, seeds.check_stream(stream), shards)
    if isinstance(spec, MaskSpec) and (given[-1] or spec.p == 0) and not is_tracing():
        bound_locally(spec, tuple(x.shape), shards)  # For its checks.
    scheduled = spec.p if isinstance(spec.p, Tensor) else None
    if scheduled is None and spec.p == 0:
        return x
    words = seed_tensor(x, seed, step, scheduled)
    operation = dropped_in_place if inplace else dropped
    if not x.is_complex():
        return operation(x, words, given)
    parts = [operation(part, words, given) for part in (x.real, x.imag)]
    return x if inplace else torch.complex(*parts)


def _recorded(x: Proxy, spec: MaskSpec | TextSpec, seed: Any, **options: Any) -> Tensor:
    """Record a call in a torch.fx graph, with arguments that such a graph can hold."""
    text = text_spec(spec) if isinstance(spec, MaskSpec) else spec
    given = {"seed": seed, **options}
    node = x.tracer.create_proxy("call_function", drop_by_text, (x, *text), given)
    return cast("Tensor", node)


def drop_by_text(x: Tensor, pattern: str, p: float, options: str, **given: Any) -> Tensor:
    """Drop by a spec as text: the call in a torch.fx graph."""
    if torch.compiler.is_compiling():
        return drop(x, TextSpec(pattern, p, options), **given)
    return drop(x, read_spec(pattern, p, options)[0], **given)


def apply(x: Tensor, mask: Any) -> Tensor:
    """Apply a `mapdrop.Mask` to x."""
    _check_dtype(x)
    coins = torch.from_numpy(mask.coins).to(x.device)
    scale = mask.scale if isinstance(mask.scale, float) else torch.from_numpy(mask.scale)
    if x.is_complex():
        parts = [broadcast(part, mask.binding, coins, scale) for part in (x.real, x.imag)]
        return torch.complex(*parts)
    return broadcast(x, mask.binding, coins, scale)


def traced(_: Tensor) -> bool:
    """Whether x is traced and Python values are frozen: never, torch.compile guards them."""
    return False


def _check_dtype(x: Tensor) -> None:
    if not isinstance(x, Tensor) or x.layout is not torch.strided or x.is_nested:
        raise unsupported(x)
    if x.dtype not in _DTYPES:
        raise TypeError(
            "mapdrop works on float16, bfloat16, float32, float64 and complex tensors, not on "
            f"{x.dtype}: kept values are scaled, which needs floats; x.float() makes them"
        )

"""drop() for PyTorch tensors."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import Proxy

from mapdrop.backends.torch.apply import Request, broadcast, options
from mapdrop.backends.torch.autodiff import dropped, dropped_in_place
from mapdrop.backends.torch.seeds import ticket
from mapdrop.backends.torch.sharding import distributed, drop_local, held
from mapdrop.backends.unsupported import unsupported
from mapdrop.spec import seed as seeds
from mapdrop.spec.mask_spec import Items, check_rate, plan
from mapdrop.spec.part import whole_shape
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


def drop(
    x: Tensor,
    pattern: str | Pattern,
    p: float,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
    exact: str | None = None,
    balance: str | None = None,
    block: Items = (),
    region: str = "valid",
    scale: str | None = "expected",
    inplace: bool = False,
    out: Any = None,
    sizes: Items = (),
    ragged: bool = False,
) -> Tensor:
    """See `mapdrop.drop`. `ragged` lets the last group of a batch be smaller."""
    if out is not None:
        raise TypeError("out= is for NumPy arrays; for a tensor use inplace=True")
    text = pattern.text if isinstance(pattern, Pattern) else pattern
    if isinstance(x, Proxy) or distributed(x):
        again = partial(
            drop,
            pattern=text,
            p=p,
            stream=stream,
            step=step,
            exact=exact,
            balance=balance,
            block=block,
            region=region,
            scale=scale,
            inplace=inplace,
            sizes=sizes,
            ragged=ragged,
        )
        if isinstance(x, Proxy):  # torch.fx takes down a call.
            given = {**again.keywords, "seed": seed}
            return cast("Tensor", x.tracer.create_proxy("call_function", drop, (x,), given))
        local: Tensor = drop_local(x, seed, again)
        return local
    _check_dtype(x)
    compiling = torch.compiler.is_compiling()  # There the operation's own checks run.
    if not compiling:
        p = check_rate(p)
    shards = held(x.dim())
    asked = options(exact, balance, block, region, scale, sizes, ragged, shards)
    if (asked or p == 0) and not (compiling or torch._C._is_tracing()):
        whole = whole_shape(tuple(x.shape), shards)
        plan(text, whole, p, exact, balance, block, region, scale, sizes, ragged)
    if p == 0:
        return x
    request: Request = (seeds.check_stream(stream), text, p, asked)
    source = ticket(x, seed, step)
    operation = dropped_in_place if inplace else dropped
    if not x.is_complex():
        return operation(x, source, request)
    parts = [operation(part, source, request) for part in (x.real, x.imag)]
    return x if inplace else torch.complex(*parts)


def apply(x: Tensor, mask: Any) -> Tensor:
    """A `mapdrop.Mask` applied to x."""
    _check_dtype(x)
    coins = torch.from_numpy(mask.coins).to(x.device)
    scale = mask.scale if isinstance(mask.scale, float) else torch.from_numpy(mask.scale)
    if x.is_complex():
        parts = [broadcast(part, mask.binding, coins, scale) for part in (x.real, x.imag)]
        return torch.complex(*parts)
    return broadcast(x, mask.binding, coins, scale)


def traced(_: Tensor) -> bool:
    """Whether compiled code keeps what Python said: never, for torch.compile guards all of it."""
    return False


def _check_dtype(x: Tensor) -> None:
    if not isinstance(x, Tensor) or x.layout is not torch.strided or x.is_nested:
        raise unsupported(x)
    if x.dtype not in _DTYPES:
        raise TypeError(
            "mapdrop works on float16, bfloat16, float32, float64 and complex tensors, not on "
            f"{x.dtype}: kept values are scaled, which needs floats; x.float() makes them"
        )

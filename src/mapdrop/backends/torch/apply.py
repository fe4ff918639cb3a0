"""What a mask does to a tensor's values: by compiled kernels, or plain operations."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mapdrop.backends import host
from mapdrop.backends.torch import law as plain
from mapdrop.backends.torch import triton as device
from mapdrop.backends.torch.hugepages import huge_pages
from mapdrop.backends.torch.seeds import read_ticket
from mapdrop.spec.mask_spec import BoundSpec, Items, plan
from mapdrop.spec.part import LocalSpec, part, whole_shape
from mapdrop.spec.sharding import Shard, read, written

# The operation's arguments after x and seed: stream, pattern, p and options.
Request = tuple[str | None, str, float, str]


def options(
    exact: str | None,
    balance: str | None,
    block: Items,
    region: str,
    scale: str | None,
    sizes: Items,
    ragged: bool,
    shards: tuple[Shard, ...] = (),
) -> str:
    """What differs from the defaults, as text: an operation's call is dear by the argument."""
    given = [f"exact={exact}"] if exact is not None else []
    if balance is not None:
        given.append(f"balance={balance}")
    if region != "valid":
        given.append(f"region={region}")
    if scale != "expected":
        given.append(f"scale={scale}")
    for kind, pairs in (("block", block), ("sizes", sizes)):
        if pairs:
            given.append(f"{kind}=" + ",".join([f"{name}:{size}" for name, size in pairs]))
    if ragged:
        given.append("ragged=1")
    if shards:
        given.append(f"shards={written(shards)}")
    return " ".join(given)


@lru_cache(maxsize=4096)
def plan_for(shape: tuple[int, ...], pattern: str, p: float, options: str) -> BoundSpec | LocalSpec:
    """The checked plan for an array of that shape, or what a part of a larger one needs."""
    given: dict[str, Any] = dict(option.split("=") for option in options.split())
    for kind in ("block", "sizes"):
        pairs = (pair.split(":") for pair in given.get(kind, "").split(",") if pair)
        given[kind] = tuple((name, int(size)) for name, size in pairs)
    if given.get("scale") == "None":
        given["scale"] = None
    given["ragged"] = "ragged" in given
    if "shards" not in given:
        return plan(pattern, shape, p, **given)
    shards = read(given.pop("shards"))
    return part(plan(pattern, whole_shape(shape, shards), p, **given), shape, shards)


def plan_of(x: Tensor, request: Request) -> BoundSpec | LocalSpec:
    """The checked plan that a request asks for x."""
    _, pattern, p, options = request
    return plan_for(tuple(x.shape), pattern, p, options)


def drop_values(x: Tensor, seed: Tensor, *request: Any) -> Tensor:
    """x dropped: a new tensor of the same memory layout."""
    asked = plan_of(x, request)
    if device.fits(x, asked):
        made = device.drop(x, seed, request[0], asked)
        if made is not None:
            return made
    if not _compiled(x, asked):
        return drop_anywhere(x, seed, *request)
    out = huge_pages(torch.empty_like(x))
    _into(out, x, seed, request[0], asked)
    return out


def drop_values_in_place(x: Tensor, seed: Tensor, *request: Any) -> None:
    """x dropped, into its own memory."""
    asked = plan_of(x, request)
    if device.fits(x, asked) and device.drop_in_place(x, seed, request[0], asked):
        return
    if _compiled(x, asked):
        _into(x, x, seed, request[0], asked)
    else:
        x.copy_(drop_values(x, seed, *request))


def _compiled(x: Tensor, asked: BoundSpec | LocalSpec) -> bool:
    name = str(x.dtype).removeprefix("torch.")
    return x.is_cpu and x.numel() > 0 and not x.is_neg() and host.compiled(asked, name)


def drop_anywhere(x: Tensor, seed: Tensor, *request: Any) -> Tensor:
    """Plain tensor operations on any device."""
    asked = plan_of(x, request)
    return broadcast(x, asked.binding, *plain.drawn(asked, seed, request[0]))


def broadcast(x: Tensor, binding: Any, coins: Tensor, scale: float | Tensor) -> Tensor:
    """x where the coins keep it, times the scale; a smaller last group's coins are repeated."""
    whole = binding.whole
    order, lined_up = whole.lineup
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    kept = plain.repeated(coins, binding).permute(order).reshape(lined_up)
    if isinstance(scale, Tensor):
        per_coin = scale.to(x.device, wide).expand(coins.shape)
        factor = plain.repeated(per_coin, binding).permute(order).reshape(lined_up)
    else:
        factor = torch.full((), scale, dtype=wide, device=x.device)
    values = (x.to(wide).reshape(whole.factors) * factor).to(x.dtype)
    dropped = torch.where(kept, values, torch.zeros((), dtype=x.dtype, device=x.device))
    return torch.empty_like(x).copy_(dropped.reshape(x.shape))


def _into(
    out: Tensor, x: Tensor, seed: Tensor, stream: str | None, asked: BoundSpec | LocalSpec
) -> None:
    """out = x dropped, by the compiled kernels; out may be x."""
    key, step = read_ticket(seed, stream)
    source = _numpy(x)
    target = source if out is x else _numpy(out)
    host.drop_into(target, source, asked, key, step, torch.get_num_threads())


def _numpy(x: Tensor) -> Any:
    """The tensor's memory, 16-bit floats as the integers that the kernels know them by."""
    raw = x.detach()
    if x.dtype == torch.bfloat16:
        return raw.view(torch.int16).numpy()
    if x.dtype == torch.float16:
        return raw.view(torch.int16).numpy().view("uint16")
    return raw.numpy()

"""drop() for PyTorch tensors: one linear operation, which is its own derivative's.

`mapdrop::drop` is an operation of PyTorch's: torch.compile and torch.export see one opaque step.
Nothing but the seed is saved for backward: the gradient is dropped by the same operation, which
makes the same mask again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mapdrop import seed as seeds
from mapdrop.arrays import host, torch_coins
from mapdrop.arrays.memory import huge_pages
from mapdrop.pattern import Pattern
from mapdrop.plan import Items, Plan, check_rate, plan

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# The operation's arguments after x and seed: stream, pattern, p and options (see `_options`).
Request = tuple[str | None, str, float, str]


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
    _check_dtype(x)
    text = pattern.text if isinstance(pattern, Pattern) else pattern
    options = _options(exact, balance, block, region, scale, sizes, ragged)
    if (options or p == 0) and not torch.compiler.is_compiling():
        plan(text, tuple(x.shape), p, exact, balance, block, region, scale, sizes, ragged)
    if p == 0:
        return x
    request: Request = (seeds.check_stream(stream), text, p, options)
    ticket = _ticket(x, seed, step)
    if inplace:
        return _in_place(x, ticket, request)
    dropped: Tensor = (
        _Drop.apply(x, ticket, request)
        if _transformed()
        else torch.ops.mapdrop.drop(x, ticket, *request)
    )
    return dropped


def apply(x: Tensor, mask: Any) -> Tensor:
    """A `mapdrop.Mask` applied to x."""
    _check_dtype(x)
    coins = torch.from_numpy(mask.coins).to(x.device)
    scale = mask.scale if isinstance(mask.scale, float) else torch.from_numpy(mask.scale)
    return _broadcast(x, mask.binding, coins, scale)


# --- The seed: a tensor [seed] or [seed, step] of int64, on x's device, never read by the host
# unless x is there.


def _ticket(x: Tensor, seed: Any, step: Any) -> Tensor:
    made = _seed(x, seed)
    if isinstance(step, Tensor):
        return torch.cat([made, step.reshape(1).to(x.device, torch.int64)])
    number = seeds.whole(step, "step")
    return made if number == 0 else torch.cat([made, _number(number, x.device)])


def _seed(x: Tensor, seed: Any) -> Tensor:
    if isinstance(seed, Tensor):
        if seed.numel() != 1 or seed.is_floating_point() or seed.is_complex():
            raise ValueError(
                f"a seed tensor has one integer, not shape {tuple(seed.shape)} of {seed.dtype}"
            )
        return seed.reshape(1).to(x.device, torch.int64)
    if seed is None or isinstance(seed, torch.Generator):
        if torch.compiler.is_compiling():
            fresh: Tensor = torch.ops.mapdrop.fresh_seed(x)
            return fresh
        return _fresh(x.device, seed)
    return _number(seeds.whole(seed, "seed"), x.device)


def _fresh(device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """64 bits from the framework's own generator for the device."""
    return torch.randint(-(2**63), 2**63 - 1, (1,), device=device, generator=generator)


def _number(number: int, device: torch.device) -> Tensor:
    """An unsigned 64-bit number as an int64 of the same bits."""
    signed = number - 2**64 if number >= 2**63 else number
    return torch.full((1,), signed, dtype=torch.int64, device=device)


# --- The operation.

_library = torch.library.Library("mapdrop", "DEF")
_library.define(
    "drop(Tensor x, Tensor seed, str? stream, str pattern, float p, str options) -> Tensor"
)
_library.define("fresh_seed(Tensor like) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,))


def _options(
    exact: str | None, balance: str | None, block: Items, region: str, scale: str | None,
    sizes: Items, ragged: bool,
) -> str:  # fmt: skip
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
    return " ".join(given)


@lru_cache(maxsize=4096)
def _plan(shape: tuple[int, ...], pattern: str, p: float, options: str) -> Plan:
    given: dict[str, Any] = dict(option.split("=") for option in options.split())
    for kind in ("block", "sizes"):
        pairs = (pair.split(":") for pair in given.get(kind, "").split(",") if pair)
        given[kind] = tuple((name, int(size)) for name, size in pairs)
    if given.get("scale") == "None":
        given["scale"] = None
    given["ragged"] = "ragged" in given
    return plan(pattern, shape, p, **given)


def _plan_of(x: Tensor, request: Request) -> Plan:
    _, pattern, p, options = request
    return _plan(tuple(x.shape), pattern, p, options)


def _drop_on_cpu(x: Tensor, seed: Tensor, *request: Any) -> Tensor:
    if not _compiled(x, request):
        return _drop_anywhere(x, seed, *request)
    out = huge_pages(torch.empty_like(x))
    _into(out, x, seed, request)
    return out


def _compiled(x: Tensor, request: Any) -> bool:
    asked = _plan_of(x, request)  # First, for its checks.
    name = str(x.dtype).removeprefix("torch.")
    return x.is_cpu and x.numel() > 0 and host.compiled(asked, name)


def _drop_anywhere(x: Tensor, seed: Tensor, *request: Any) -> Tensor:
    """Plain tensor operations on any device."""
    asked = _plan_of(x, request)
    key = torch_coins.stream_key(seed[:1], request[0])
    step = seed[1:] if seed.numel() > 1 else torch.zeros_like(seed)
    coins = torch_coins.kept(asked, key, step)
    return _broadcast(x, asked.binding, coins, torch_coins.factor(asked, coins))


def _broadcast(x: Tensor, binding: Any, coins: Tensor, scale: float | Tensor) -> Tensor:
    whole = binding.whole
    order, lined_up = whole.lineup
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    kept = _repeated(coins, binding).permute(order).reshape(lined_up)
    if isinstance(scale, Tensor):
        per_coin = scale.to(x.device, wide).expand(coins.shape)
        factor = _repeated(per_coin, binding).permute(order).reshape(lined_up)
    else:
        factor = torch.full((), scale, dtype=wide, device=x.device)
    values = (x.to(wide).reshape(whole.factors) * factor).to(x.dtype)
    dropped = torch.where(kept, values, torch.zeros((), dtype=x.dtype, device=x.device))
    return torch.empty_like(x).copy_(dropped.reshape(x.shape))


def _repeated(coins: Tensor, binding: Any) -> Tensor:
    if binding.repeats is None:
        return coins
    axis, members, size = binding.repeats
    return coins.index_select(axis, torch.arange(size, device=coins.device) // members)


def _into(out: Tensor, x: Tensor, seed: Tensor, request: Request) -> None:
    """out = x dropped, by the compiled kernels; out may be x."""
    number, step = [n % 2**64 for n in (*seed.tolist(), 0)[:2]]
    source = _numpy(x)
    target = source if out is x else _numpy(out)
    key = seeds.key(number, request[0])
    host.drop_into(target, source, _plan_of(x, request), key, step, torch.get_num_threads())


def _numpy(x: Tensor) -> Any:
    """The tensor's memory, 16-bit floats as the integers that the kernels know them by."""
    raw = x.detach()
    if x.dtype == torch.bfloat16:
        return raw.view(torch.int16).numpy()
    if x.dtype == torch.float16:
        return raw.view(torch.int16).numpy().view("uint16")
    return raw.numpy()


def _pretend(x: Tensor, seed: Tensor, *request: Any) -> Tensor:
    """What is known without values: the checks that need no sizes, and the result's layout."""
    _, pattern, p, *_ = request
    check_rate(p)
    parsed = Pattern.parse(pattern)
    if None not in parsed.left and len(parsed.left) != x.dim():
        parsed.bind((1,) * x.dim())  # Raises the error for a wrong rank.
    return torch.empty_like(x)


def _transformed() -> bool:
    """Whether torch.func or forward-mode differentiation is at work, outside of traced code."""
    return not torch.compiler.is_compiling() and (
        torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    )


class _Drop(torch.autograd.Function):
    """The operation under torch.func and in forward mode, where its own rule does not reach."""

    @staticmethod
    def forward(x: Tensor, seed: Tensor, request: Request) -> Tensor:  # type: ignore[override]
        dropped: Tensor = torch.ops.mapdrop.drop(x, seed, *request)
        return dropped

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, seed, ctx.request = inputs
        ctx.save_for_backward(seed)
        ctx.save_for_forward(seed)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _Drop.apply(grad, *ctx.saved_tensors, ctx.request), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:  # type: ignore[override]
        moved: Tensor = _Drop.apply(tangent, *ctx.saved_tensors, ctx.request)
        return moved

    @staticmethod
    def vmap(info: Any, dims: Any, x: Tensor, seed: Tensor, request: Request) -> tuple[Tensor, int]:
        return _over_examples(info, dims, x, seed, *request)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, seed, *ctx.request = inputs
    ctx.save_for_backward(seed)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (seed,) = ctx.saved_tensors
    dropped = torch.ops.mapdrop.drop(grad, seed, *ctx.request)
    return dropped, None, *([None] * len(ctx.request))


def _over_examples(
    info: Any, dims: tuple[int | None, ...], x: Tensor, seed: Tensor, *request: Any
) -> tuple[Tensor, int]:
    """vmap: one seed for all examples shares the mask; a seed for each gives each its own."""
    at, seed_at = dims[:2]
    moved = x.expand(info.batch_size, *x.shape) if at is None else x.movedim(at, 0)

    def operation(x: Tensor, seed: Tensor, *request: Any) -> Tensor:
        dropped: Tensor = _Drop.apply(x, seed, request)
        return dropped

    if seed_at is None:
        stream, pattern, *rest = request
        return operation(moved, seed, stream, f"{_unused(pattern)} {pattern}", *rest), 0
    each = seed.movedim(seed_at, 0)
    examples = zip(moved.unbind(), each.unbind(), strict=True)
    return torch.stack([operation(one, own, *request) for one, own in examples]), 0


def _unused(pattern: str) -> str:
    name = "examples"
    while name in Pattern.parse(pattern).names:
        name += "_"
    return name


def _fresh_over_examples(info: Any, dims: tuple[int | None, ...], like: Tensor) -> Any:
    if info.randomness == "error":
        raise RuntimeError(
            "vmap: a dropped mask is random; call vmap with randomness='different' or 'same'"
        )
    if info.randomness == "same":
        return _fresh(like.device), None
    return torch.stack([_fresh(like.device) for _ in range(info.batch_size)]), 0


_library.impl("drop", _drop_on_cpu, "CPU")
_library.impl("drop", _drop_anywhere, "CompositeExplicitAutograd")
_library.impl("fresh_seed", lambda like: _fresh(like.device), "CompositeExplicitAutograd")
torch.library.register_fake("mapdrop::drop", _pretend, lib=_library)
torch.library.register_fake(
    "mapdrop::fresh_seed", lambda like: like.new_empty((1,), dtype=torch.int64), lib=_library
)
torch.library.register_autograd("mapdrop::drop", _backward, setup_context=_remember, lib=_library)
if hasattr(torch.library, "register_vmap"):  # From torch 2.5 on.
    torch.library.register_vmap("mapdrop::drop", _over_examples, lib=_library)
    torch.library.register_vmap("mapdrop::fresh_seed", _fresh_over_examples, lib=_library)


# --- In place.


def _in_place(x: Tensor, seed: Tensor, request: Request) -> Tensor:
    """x itself, overwritten."""
    if torch.compiler.is_compiling():
        return x.copy_(torch.ops.mapdrop.drop(x, seed, *request))
    if _transformed():
        return x.copy_(_Drop.apply(x, seed, request))
    written: Tensor = _InPlace.apply(x, seed, request)
    return written


class _InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: Tensor, request: Request) -> Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(seed)
        ctx.request = request
        if _compiled(x, request):
            _into(x, x, seed, request)
        else:
            x.copy_(_drop_anywhere(x, seed, *request))
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (seed,) = ctx.saved_tensors
        return torch.ops.mapdrop.drop(grad, seed, *ctx.request), None, None


def _check_dtype(x: Tensor) -> None:
    if x.dtype not in _DTYPES:
        raise TypeError(
            "mapdrop works on float16, bfloat16, float32 and float64 tensors, not on "
            f"{x.dtype}: kept values are scaled, which needs floats; x.float() makes them"
        )

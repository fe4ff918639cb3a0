"""PyTorch: the processor and every accelerator, eagerly and by torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mapdrop.tools.check.bits import Bits
from mapdrop.tools.check.ways.way import Step, UnavailableError, Way, one_by_one

# What the compiler raises where it lacks a tool of its own, and how to get that.
_TOOLS = {
    "InvalidCxxCompiler": "torch.compile needs a C++ compiler: install g++ or clang, or set CXX",
    "TritonMissing": "torch.compile needs Triton on a GPU: pip install triton",
    "Dynamo is not supported": "this PyTorch has no torch.compile for this Python",
    "torch.compile is not supported": "this PyTorch has no torch.compile for this Python",
}


def versions() -> dict[str, str]:
    """Of what takes part."""
    return {"torch": torch.__version__}


def ways() -> Iterator[Way]:
    """Eager and compiled, on each device."""
    for device, name in _devices():
        eager = Way(
            "eager",
            partial(_array, device),
            _bits,
            device,
            name,
            permute=torch.permute,
            own=partial(torch.nn.functional.dropout, p=0.5),
            own_name="torch.nn.functional.dropout",
            ready=partial(_ready, device),
        )
        yield eager
        yield replace(eager, mode="torch.compile", together=_compiled, compiled=True)


def _devices() -> Iterator[tuple[str, str]]:
    yield "cpu", ""
    for number in range(torch.cuda.device_count()):  # AMD's too.
        yield f"cuda:{number}", torch.cuda.get_device_name(number)
    for number in range(torch.xpu.device_count()):
        yield f"xpu:{number}", torch.xpu.get_device_name(number)
    if torch.backends.mps.is_available():
        yield "mps", "Apple"


def _array(device: str, bits: Bits, dtype: str) -> Tensor:
    signed = torch.from_numpy(bits.view(f"i{bits.itemsize}").copy())
    return signed.view(getattr(torch, dtype)).to(device)


def _bits(y: Tensor) -> Bits:
    signed = torch.int32 if y.dtype == torch.float32 else torch.int16
    raw = y.cpu().contiguous().view(signed).numpy()
    return raw.view(f"u{raw.itemsize}")


def _ready(device: str, y: Tensor) -> Tensor:
    kind = device.partition(":")[0]
    if kind != "cpu":
        getattr(torch, kind).synchronize()
    return y


def _compiled(steps: Sequence[Step]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    compiled: Callable[..., Any] = torch.compile(one_by_one(steps), fullgraph=True, dynamic=False)

    def run(xs: Sequence[Any]) -> Sequence[Any]:
        try:
            made: Sequence[Any] = compiled(xs)
        except RuntimeError as problem:
            for sign, remedy in _TOOLS.items():
                if sign in f"{type(problem).__name__}: {problem}":
                    raise UnavailableError(remedy) from problem
            raise
        return made

    return run

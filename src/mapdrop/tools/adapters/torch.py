"""PyTorch: the processor and every accelerator, eagerly and by torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

import mapdrop.torch
from mapdrop.tools.adapters import adapter as base
from mapdrop.tools.adapters import torch_peers as peers
from mapdrop.tools.adapters.adapter import Drop, Program, UnavailableError, Work
from mapdrop.tools.adapters.bits import Bits
from mapdrop.tools.drop_kinds import DropKind
from mapdrop.tools.memory import peak

# What the compiler raises where it lacks a tool of its own, and how to get that.
_TOOLS = {
    "InvalidCxxCompiler": "torch.compile needs a C++ compiler: install g++ or clang, or set CXX",
    "TritonMissing": "torch.compile needs Triton on a GPU: pip install triton",
    "Dynamo is not supported": "this PyTorch has no torch.compile for this Python",
    "torch.compile is not supported": "this PyTorch has no torch.compile for this Python",
}


class Adapter(base.Adapter):
    """PyTorch, against its own functions and torchvision's and timm's algorithms."""

    modes: tuple[str, ...] = ("eager", "torch.compile")
    compiled: ClassVar[tuple[str, ...]] = ("torch.compile",)
    strided = True
    dropout_name = "torch.nn.functional.dropout"
    channels_first = True
    peers_of: ClassVar[tuple[str, ...]] = ("element", "spatial", "block", "path")

    @classmethod
    def found(cls) -> Iterator[base.Adapter]:
        """See `Adapter`."""
        yield cls()
        for number in range(torch.cuda.device_count()):  # AMD's too.
            yield cls(f"cuda:{number}", torch.cuda.get_device_name(number))
        for number in range(torch.xpu.device_count()):
            yield cls(f"xpu:{number}", torch.xpu.get_device_name(number))
        if torch.backends.mps.is_available():
            yield cls("mps", "Apple")

    @staticmethod
    def versions() -> dict[str, str]:
        """See `Adapter`."""
        return {"torch": torch.__version__}

    @staticmethod
    def hardware() -> dict[str, str]:
        """See `Adapter`."""
        return {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}

    def to_array(self, bits: Bits, dtype: str) -> Tensor:
        """See `Adapter`."""
        signed = torch.from_numpy(bits.view(f"i{bits.itemsize}").copy())
        return signed.view(getattr(torch, dtype)).to(self.device)

    def to_bits(self, array: Tensor) -> Bits:
        """See `Adapter`."""
        signed = torch.int32 if array.dtype == torch.float32 else torch.int16
        raw = array.cpu().contiguous().view(signed).numpy()
        return raw.view(f"u{raw.itemsize}")

    def permute(self, array: Tensor, axes: tuple[int, ...]) -> Tensor:
        """See `Adapter`."""
        return torch.permute(array, axes)

    def own_dropout(self) -> Drop:
        """See `Adapter`."""
        return partial(F.dropout, p=0.5)

    def program(self, mode: str, drops: Sequence[Drop]) -> Program:
        """See `Adapter`."""
        run: Program = base.one_by_one(drops)
        return run if mode == "eager" else _compiled(run)

    def wait(self, array: Tensor) -> Tensor:
        """See `Adapter`."""
        self.synchronize()
        return array

    def random(self, size: tuple[int, ...], dtype: str, layout: str) -> Tensor:
        """See `Adapter`."""
        x = torch.randn(size, device=self.device).to(getattr(torch, dtype))
        if layout == "channels last":
            return x.contiguous(memory_format=torch.channels_last)
        return x

    def ours(self, kind: DropKind, size: tuple[int, ...]) -> Drop:
        """See `Adapter`."""
        layer: Drop = kind.make_layer(mapdrop.torch, f"{len(size) - 2}d")
        return layer

    def peers(self, kind: DropKind, size: tuple[int, ...]) -> dict[str, Drop]:
        """See `Adapter`."""
        spatial = F.dropout1d if len(size) == 3 else F.dropout2d
        found: dict[str, dict[str, Callable[..., Tensor]]] = {
            "element": {"F.dropout": F.dropout},
            "spatial": {f"F.{spatial.__name__}": spatial},
            "block": {
                "torchvision's": partial(peers.torchvision_drop_block2d, block_size=kind.block),
                "timm's": partial(peers.timm_drop_block_2d, block_size=kind.block),
            },
            "path": {
                "torchvision's": peers.torchvision_stochastic_depth,
                "timm's": peers.timm_drop_path,
            },
        }
        return {name: partial(drop, p=kind.p) for name, drop in found[kind.name].items()}

    def work(self, drop: Drop, array: Tensor, backward: bool) -> Work:
        """See `Adapter`. The gradient that comes in is there already."""
        if not backward:
            return self.plain_work(lambda: drop(array))
        upstream = torch.randn_like(array)
        leaf = array.clone(memory_format=torch.preserve_format).requires_grad_()

        def run() -> Tensor | None:
            leaf.grad = None
            drop(leaf).backward(upstream)
            return leaf.grad

        return self.plain_work(run)

    def plain_work(self, run: Callable[[], object]) -> Work:
        """Return a work whose memory is that of the device's tensors."""
        return Work(run, partial(peak, run, self.device))

    def copy(self, array: Tensor, passes: int) -> tuple[str, Work]:
        """See `Adapter`."""
        old = torch.empty_like(array)
        run = Work(lambda: [old.copy_(array) for _ in range(passes)])
        return base.passes_named("copy", passes), run

    def synchronize(self) -> None:
        """See `Adapter`."""
        kind = self.device.partition(":")[0]
        if kind != "cpu":
            getattr(torch, kind).synchronize()


def _compiled(run: Program) -> Program:
    compiled: Program = torch.compile(run, fullgraph=True, dynamic=False)

    def guarded(arrays: Sequence[Tensor]) -> Sequence[Tensor]:
        try:
            return compiled(arrays)
        except RuntimeError as problem:
            for sign, remedy in _TOOLS.items():
                if sign in f"{type(problem).__name__}: {problem}":
                    raise UnavailableError(remedy) from problem
            raise

    return guarded

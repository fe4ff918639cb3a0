"""The rate of a scheduled layer, which compiled code reads when it runs.

Any other rate is a constant of a compiled graph: each new one compiles it again. Here the graph has
an operation that returns the rate as a tensor, which is on the CPU for every device. What follows
from it (the threshold, the scale, how many coins are kept) is worked out by the host anyway, where
it starts a kernel, so no device is waited for. Backward keeps the tensor: its forward's rate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mapdrop.backends.torch._internals import is_tracing
from mapdrop.backends.torch.handles import CPU, Handles

_handles: Handles[ScheduledRate] = Handles("scheduled")
READS_RATE = tuple(filter(None, [getattr(torch.Tag, "cudagraph_unsafe", None)]))
"""The tags of operations that read a rate on the host, which Inductor leaves out of CUDA graphs.

Versions without such a tag make no CUDA graph where a tensor is on the CPU.
"""
OVERLOADS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "": ("float", ()),
    ".scheduled": ("Tensor", READS_RATE),
}
"""The overloads of an operation that drops at a rate p: the type of p, and their tags."""


def overload_for(operation: Any, p: float | Tensor) -> Any:
    """Return the overload of an operation for a rate.

    PyTorch, left to choose, takes a tensor on the CPU for a number if it can, and traces its value.
    """
    return operation.scheduled if isinstance(p, Tensor) else operation.default


class ScheduledRate:
    """The rate of a scheduled layer.

    Attributes:
        own: the layer's own rate, for which is decided what has to be decided once.
        p: the present rate.
    """

    own: float
    p: float

    def __init__(self, own: float) -> None:
        self.own = self.p = own
        self.handle: Tensor = _handles.new(self)

    def __reduce__(self) -> Any:
        """Leave this out of copies of the layer: the schedule does not know them."""
        return type(None), ()

    def read(self) -> float | Tensor:
        """Return the present rate; in compiled code a tensor of it."""
        if torch.compiler.is_compiling():
            rate: Tensor = torch.ops.mapdrop.rate(self.handle, self.own)
            return rate
        if is_tracing():
            raise RuntimeError(
                "torch.jit.trace would keep the present rate of a scheduled layer: trace the "
                "model without its schedule (remove()), or in eval mode"
            )
        if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "a CUDA graph would repeat the present rate of a scheduled layer: capture the "
                "model without its schedule, or without this layer"
            )
        return self.p


def _rate(handle: Tensor, own: float) -> Tensor:
    return torch.tensor(_handles.find(handle).p, dtype=torch.float64, device=CPU)


_library = torch.library.Library("mapdrop", "FRAGMENT")
# Tagged as random: a later call may return another rate, so none is repeated for backward.
_library.define("rate(Tensor rate, float own) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,))
_library.impl("rate", _rate, "CompositeExplicitAutograd")
torch.library.register_fake(
    "mapdrop::rate", lambda handle, own: handle.new_empty((), dtype=torch.float64), lib=_library
)

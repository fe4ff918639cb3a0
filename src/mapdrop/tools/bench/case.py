"""What is timed: a case, and the works that one of them compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mapdrop.tools.bench.operations import OPERATIONS, Operation
from mapdrop.tools.bench.shapes import Shape

OURS = "mapdrop"
FORWARD, BOTH, IN_PLACE, STEP = "forward", "forward and backward", "in place", "training step"
PLAIN, LAST = "channels first", "channels last"


@dataclass(frozen=True)
class Work:
    """Something to time: `run` returns when it is done, or for a device is started.

    `peak` gives the most bytes it holds at once beyond its input, where that can be known.
    """

    run: Callable[[], object]
    peak: Callable[[], int] | None = None


@dataclass(frozen=True)
class Works:
    """Ours and others' ways to do one thing, and what bounds them.

    Attributes:
        ours: ours.
        peers: by the names that their users know them by.
        limit: a name and a work that moves the array's bytes, or a name, a peer's name and how many
            times faster than it arithmetic allows.
        wait: returns when what was started is done.
    """

    ours: Work
    peers: dict[str, Work]
    limit: tuple[str, Work] | tuple[str, str, float]
    wait: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        operation: a name in OPERATIONS, or "compact".
        shape: the activation.
        direction: one of this module's constants.
        layout: of the array: channels first (NCHW) or last (NHWC).
        dtype: of the array.
        device: where it is, as PyTorch calls it.
        quick: whether it is part of the short form.
    """

    operation: str
    shape: Shape
    direction: str
    layout: str
    dtype: str = "float32"
    device: str = "cpu"
    quick: bool = field(default=False, compare=False)

    @property
    def law(self) -> Operation:
        """The pattern and the rate."""
        return OPERATIONS[self.operation]

    @property
    def both(self) -> bool:
        """Whether the gradient is taken as well."""
        return self.direction == BOTH

    @property
    def size(self) -> tuple[int, ...]:
        """The array's shape in a framework where channels stand where the layout says."""
        return self.shape.last if self.layout == LAST else self.shape.first

    @property
    def name(self) -> str:
        """What it is called in a table, after the framework's name."""
        dtype = "" if self.dtype == "float32" else f", {self.dtype}"
        device = "" if self.device == "cpu" else f", {self.device}"
        array = f"{self.shape.name}, {self.layout}{dtype}{device}"
        return f"{self.operation}, {array}, {self.direction}"

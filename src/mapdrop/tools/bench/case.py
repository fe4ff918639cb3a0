"""What is timed: one kind of dropout on one array, in one direction."""

from __future__ import annotations

from dataclasses import dataclass, field

from mapdrop.tools.bench.shapes import Shape
from mapdrop.tools.drop_kinds import DROP_KINDS, DropKind

OURS = "mapdrop"
FORWARD, BOTH, IN_PLACE, STEP = "forward", "forward and backward", "in place", "training step"
PLAIN, LAST = "channels first", "channels last"


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        operation: a name in DROP_KINDS, or "compact".
        shape: the activation.
        direction: one of this module's constants.
        layout: of the array: channels first (NCHW) or last (NHWC).
        dtype: of the array.
        device: where it is, as PyTorch calls it.
        quick: whether it is timed without --full.
    """

    operation: str
    shape: Shape
    direction: str
    layout: str
    dtype: str = "float32"
    device: str = "cpu"
    quick: bool = field(default=False, compare=False)

    @property
    def kind(self) -> DropKind:
        """What is dropped, and at which rate."""
        return DROP_KINDS[self.operation]

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
        """The name in a table, after the framework's."""
        dtype = "" if self.dtype == "float32" else f", {self.dtype}"
        device = "" if self.device == "cpu" else f", {self.device}"
        array = f"{self.shape.name}, {self.layout}{dtype}{device}"
        return f"{self.operation}, {array}, {self.direction}"

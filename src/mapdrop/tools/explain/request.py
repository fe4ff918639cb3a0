"""The request on the command line: a mask's spec and its seed."""

from __future__ import annotations

from dataclasses import dataclass

from mapdrop.mask import Mask, mask_of
from mapdrop.spec.mask_spec import BoundSpec, MaskSpec


@dataclass(frozen=True)
class Request:
    """The arguments of `mapdrop.mask`, but for the shape."""

    spec: MaskSpec
    seed: int = 0

    @property
    def pattern(self) -> str:
        """The pattern as it was written."""
        return self.spec.pattern.text

    @property
    def p(self) -> float:
        """The fraction to drop."""
        return self.spec.p

    def bind(self, shape: tuple[int, ...]) -> BoundSpec:
        """Bind the request to a shape. Raises PatternError where it does not fit."""
        return self.spec.bind(shape)

    def mask(self, shape: tuple[int, ...]) -> Mask:
        """Return the mask of this seed."""
        return mask_of(self.spec, shape, self.seed)

    @property
    def call(self) -> str:
        """The call of the library that does the same."""
        arguments = ["x", repr(self.pattern), repr(self.p), *self.spec.keywords]
        return f"mapdrop.drop({', '.join(arguments)})"

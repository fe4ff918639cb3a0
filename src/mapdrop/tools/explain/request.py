"""The request on the command line: a pattern and the options of its coins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import mapdrop
from mapdrop.mask import Mask
from mapdrop.spec.mask_spec import BoundSpec, as_sizes, mask_spec


@dataclass(frozen=True)
class Request:
    """The arguments of `mapdrop.mask`, but for the shape."""

    pattern: str
    p: float
    seed: int = 0
    exact: str | None = None
    balance: str | None = None
    block: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    def bind(self, shape: tuple[int, ...]) -> BoundSpec:
        """Check the request and bind it to a shape.

        Raises:
            PatternError, ValueError, TypeError: for what does not fit.
        """
        spec = mask_spec(
            self.pattern,
            self.p,
            self.exact,
            self.balance,
            as_sizes(self.block, "block"),
            sizes=as_sizes(self.sizes, "sizes"),
        )
        return spec.bind(shape)

    def mask(self, shape: tuple[int, ...]) -> Mask:
        """Return the mask of this seed."""
        return mapdrop.mask(
            self.pattern,
            shape,
            self.p,
            seed=self.seed,
            exact=self.exact,
            balance=self.balance,
            block=self.block,
            **cast(dict[str, Any], self.sizes),
        )

    @property
    def call(self) -> str:
        """The call of the library that does the same."""
        options = [
            f"{n}={v!r}" for n in ("exact", "balance") if (v := getattr(self, n)) is not None
        ]
        if self.block:
            sides = ", ".join(f"{name}={side}" for name, side in self.block.items())
            options.append(f"block=dict({sides})")
        options += [f"{name}={size}" for name, size in self.sizes.items()]
        return f"mapdrop.drop({', '.join(['x', repr(self.pattern), repr(self.p), *options])})"

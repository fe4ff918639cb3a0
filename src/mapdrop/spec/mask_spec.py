"""What is to be dropped from an array of one shape: pattern, law and scale, checked and cached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.spec.binding import Binding, bind
from mapdrop.spec.pattern import Pattern
from mapdrop.spec.reference import Law, survivors
from mapdrop.system.warn import warn_user

REGIONS = ("valid", "full")
SCALES = ("expected", "sample", "batch", None)
Items = tuple[tuple[str, int], ...]
# exact, balance, block, region, scale
Options = tuple[str | None, str | None, Items, str, str | None]


@dataclass(frozen=True)
class BoundSpec:
    """A pattern bound to a shape, the law of its coins, and how kept values are scaled."""

    binding: Binding
    law: Law
    scale: str | None
    first = 0  # The number of its first coin.
    far: str = ""  # What to say where the rate that comes out is far from the one asked for.

    @property
    def expected(self) -> float:
        """The scale where it is known before any coin falls; 0 where no coin can be kept."""
        if self.scale is None:
            return 1.0
        if self.law.exact is None:
            return 1 / (1 - self.law.p) if self.law.p < 1 else 0.0
        n = self.binding.coins[self.law.exact]
        kept = survivors(self.law.p, n)
        return n / kept if kept else 0.0

    @property
    def measured(self) -> tuple[int, ...] | None:
        """The coin axes over which `scale="sample"` and `"batch"` count, or None for the others."""
        if self.scale not in ("sample", "batch"):
            return None
        return tuple(
            range(self.scale == "sample" and len(self.binding.coins) > 0, len(self.binding.coins))
        )

    def factor(self, coins: NDArray[np.bool_]) -> float | NDArray[np.float64]:
        """What kept values are multiplied by: a number, or one for each sample."""
        if self.measured is None:
            return self.expected
        kept = coins.sum(axis=self.measured, keepdims=True)
        drawn = math.prod(coins.shape[axis] for axis in self.measured)
        factor = np.divide(drawn, kept, out=np.zeros(kept.shape), where=kept > 0)
        return float(factor.reshape(())) if factor.size == 1 else factor


def check_rate(p: Any, name: str = "p") -> float:
    """`p` as a float from 0 to 1. Raises TypeError or ValueError with what came."""
    many = getattr(p, "ndim", 0) > 0
    if isinstance(p, (bool, np.bool_, str)) or not hasattr(p, "__float__") or many:
        raise TypeError(f"{name} is the fraction to drop, a number from 0 to 1, not {p!r}")
    if not 0 <= p <= 1:
        raise ValueError(f"{name} is the fraction to drop, from 0 to 1, not {p}")
    return float(p)


def plan(
    pattern: str | Pattern,
    shape: tuple[int, ...],
    p: float,
    exact: str | None = None,
    balance: str | None = None,
    block: Items = (),
    region: str = "valid",
    scale: str | None = "expected",
    sizes: Items = (),
    ragged: bool = False,
    partly: bool = False,
) -> BoundSpec:
    """Check and bind it all; the same arguments give the same plan.

    Warns where `exact` makes the rate another one, unless the shape is known `partly`.
    """
    rate = check_rate(p)
    given = pattern, shape, rate, exact, balance, block, region, scale, sizes, ragged
    made = None
    # 2.0 and True would find what was planned for 2 and 1: they are not looked up, but refused.
    if all(type(size) is int for _, size in block + sizes):
        try:
            made = _plan(*given)
        except TypeError:
            made = None  # Of a type that cannot be looked up: then the checks say what is wrong.
    made = made or _plan.__wrapped__(*given)
    if made.far and not partly:
        warn_user(made.far)
    return made


@lru_cache(maxsize=4096)
def _plan(
    pattern: str | Pattern,
    shape: tuple[int, ...],
    p: float,
    exact: str | None,
    balance: str | None,
    block: Items,
    region: str,
    scale: str | None,
    sizes: Items,
    ragged: bool,
) -> BoundSpec:
    check_region(region)
    check_scale(scale)
    asked = [n for n, v in (("exact", exact), ("balance", balance), ("block", block)) if v]
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(asked)} exclude each other: give one of them")
    binding = bind(pattern, shape, dict(sizes), ragged=ragged)
    law = Law(
        p,
        None if exact is None else binding.axis(exact, "exact"),
        None if balance is None else binding.axis(balance, "balance"),
        tuple(sorted((binding.axis(n, "block"), check_block_size(n, size)) for n, size in block)),
        region,
    )
    return BoundSpec(binding, law, scale, _far(law, binding))


def _far(law: Law, binding: Binding) -> str:
    """What to say where `exact` drops another fraction than p, by more than a tenth.

    Of p, or of 1 - p where that is less: to drop all is as far from 0.95 as to drop nothing is
    from 0.05.
    """
    n = 0 if law.exact is None else binding.coins[law.exact]
    if n == 0:
        return ""
    dropped = n - survivors(law.p, n)
    if abs(dropped / n - law.p) <= 0.1 * min(law.p, 1 - law.p):
        return ""
    name = binding.names[law.exact or 0]
    return (
        f"exact={name!r} always drops {dropped} of {n}, which is {dropped / n:.3g} and not "
        f"p={law.p:g}: balance={name!r} drops as evenly, at the rate asked for"
    )


def check_region(region: Any) -> str:
    """`region`, which says where the centres of blocks may lie. Raises ValueError."""
    if region not in REGIONS:
        raise ValueError(f"region is one of {', '.join(map(repr, REGIONS))}, not {region!r}")
    return str(region)


def check_scale(scale: Any) -> str | None:
    """`scale`, which says what kept values are multiplied by. Raises ValueError."""
    if scale not in SCALES:
        raise ValueError(f"scale is one of {', '.join(map(repr, SCALES))}, not {scale!r}")
    return None if scale is None else str(scale)


def check_block_size(name: str, size: Any) -> int:
    """A block's size along the axis `name`. Raises ValueError."""
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise ValueError(f"block={{{name!r}: {size!r}}} is not a size: a whole number from 1 on")
    return int(size)


def items(mapping: Mapping[str, int] | None, argument: str) -> Items:
    """A mapping of axis names to sizes as pairs, which can be hashed."""
    if mapping is None:
        return ()
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{argument} gives a size for each axis, as in dict(h=7, w=7): {mapping!r}")
    return tuple(mapping.items())

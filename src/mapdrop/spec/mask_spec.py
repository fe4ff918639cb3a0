"""What a mask obeys, whatever the array: a pattern, a rate, a law and a scale, as one value.

A `MaskSpec` is made once and bound to each shape that comes. Bound, it knows its coins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mapdrop.spec.binding import Binding, bind
from mapdrop.spec.law import Bits, CoinSpace, Law, Words, expected, survivors
from mapdrop.spec.pattern import Pattern
from mapdrop.spec.warn import warn_user

REGIONS = ("valid", "full")
SCALES = ("expected", "sample", "batch", None)
_MOST = 1024  # Shapes that a spec remembers.

Sizes = tuple[tuple[str, int], ...]
"""Sizes by name, as pairs, which can be hashed."""


# Options that name a coin axis, along which coins depend on each other. They exclude each other.
TIES = ("exact", "balance")

# The options of a spec after the pattern and p, in order, and their defaults.
OPTIONS: tuple[tuple[str, Any], ...] = (
    ("exact", None),
    ("balance", None),
    ("block", ()),
    ("region", "valid"),
    ("scale", "expected"),
    ("sizes", ()),
    ("ragged", False),
)


@dataclass(frozen=True)
class BoundSpec:
    """A spec bound to a shape.

    Attributes:
        binding: the pattern fitted to the shape.
        law: how its coins fall.
        scale: as for `mapdrop.drop`.
        first: the number of its first coin.
        starts: that of each run of consecutive coins.
        warning: what to say where the rate that comes out is far from p.
    """

    binding: Binding
    law: Law
    scale: str | None
    first = 0
    starts: ClassVar[NDArray[np.int64]] = np.zeros(1, np.int64)
    warning: str = ""

    @cached_property
    def expected(self) -> float:
        """The scale where it is known before any coin falls; 0 where no coin can be kept."""
        return 1.0 if self.scale is None else expected(self.law, self.binding.coins)

    def at(self, p: Any) -> BoundSpec:
        """Return this at another rate, which may be a framework's number in float64."""
        return replace(self, law=replace(self.law, p=p))

    @property
    def most(self) -> int:
        """How many values are kept at most: fewer than all where `exact` or `balance` says so."""
        n = 1 if self.law.axis is None else self.binding.coins[self.law.axis]
        return self.binding.values * self.law.most(n) // max(1, n)

    @cached_property
    def counted_axes(self) -> tuple[int, ...] | None:
        """The coin axes over which `scale="sample"` and `"batch"` count, or None for the others."""
        if self.scale not in ("sample", "batch"):
            return None
        axes = len(self.binding.coins)
        return tuple(range(self.scale == "sample" and axes > 0, axes))

    def factor(self, space: CoinSpace[Words, Bits], kept: Bits) -> Any:
        """Return what kept values are multiplied by: a number, or one for each sample."""
        if self.scale is None:
            return 1.0
        if self.counted_axes is None:
            return space.expected(self.law)
        drawn = math.prod(space.shape[axis] for axis in self.counted_axes)
        return space.ratio(drawn, space.count(kept, self.counted_axes))


@dataclass(frozen=True)
class MaskSpec:
    """The arguments of `mapdrop.drop` that say what a mask is, checked as far as they can be.

    `mask_spec` makes one. Equal arguments give the same object, so that what is worked out for it
    is worked out once.

    Attributes:
        ragged: whether the last group of a batch may be smaller.
        memo: what a backend worked out for this spec, by keys of its own.
    """

    pattern: Pattern
    p: float
    exact: str | None = None
    balance: str | None = None
    block: Sizes = ()
    region: str = "valid"
    scale: str | None = "expected"
    sizes: Sizes = ()
    ragged: bool = False
    memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _bound: dict[tuple[int, ...], BoundSpec] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def bind(self, shape: tuple[int, ...], warn: bool = True) -> BoundSpec:
        """Return the spec bound to a shape; the same shape gives the same object.

        Raises PatternError where it does not fit. Warns, if `warn`, where `exact` makes the rate
        another one.
        """
        bound = self._bound.get(shape)
        if bound is None:
            bound = self._bind(shape)
            self.remember(self._bound, bound.binding.shape, bound)
        if bound.warning and warn:
            warn_user(bound.warning)
        return bound

    def _bind(self, shape: tuple[int, ...]) -> BoundSpec:
        binding = bind(self.pattern, shape, dict(self.sizes), ragged=self.ragged)
        block = ((binding.axis(n, "block"), check_block_size(n, size)) for n, size in self.block)
        tied = {n: binding.axis(getattr(self, n), n) for n in TIES if getattr(self, n) is not None}
        law = Law(self.p, block=tuple(sorted(block)), region=self.region, **tied)
        return BoundSpec(binding, law, self.scale, _warning(law, binding))

    @staticmethod
    def remember(memo: dict[Any, Any], key: Any, value: Any) -> None:
        """Store a value in a dictionary that forgets everything before it grows large."""
        if len(memo) >= _MOST:
            memo.clear()
        memo[key] = value

    @cached_property
    def rows(self) -> MaskSpec:
        """The spec for the first axis alone: a vector of ones, dropped by it, has its factors.

        Raises PatternError where another axis has coins of its own.
        """
        pattern = self.pattern.rows()
        sizes = tuple((name, size) for name, size in self.sizes if name in pattern.names)
        return replace(self, pattern=pattern, sizes=sizes)

    def over_examples(self) -> MaskSpec:
        """Return the spec for a stack of such arrays that all have one mask."""
        return replace(self, pattern=self.pattern.over_examples())

    @cached_property
    def _hash(self) -> int:
        return hash(self._arguments)

    def __hash__(self) -> int:
        return self._hash

    @property
    def options(self) -> tuple[Any, ...]:
        """Its values of `OPTIONS`."""
        return tuple(getattr(self, name) for name, _ in OPTIONS)

    @property
    def keywords(self) -> list[str]:
        """Its options that are not the defaults, as they stand in a call of `mapdrop.drop`."""
        return keywords(self.options)

    @property
    def _arguments(self) -> tuple[Any, ...]:
        return self.pattern, self.p, *self.options

    def __reduce__(self) -> Any:
        return mask_spec, self._arguments


def mask_spec(
    pattern: str | Pattern,
    p: float,
    exact: str | None = None,
    balance: str | None = None,
    block: Sizes = (),
    region: str = "valid",
    scale: str | None = "expected",
    sizes: Sizes = (),
    ragged: bool = False,
) -> MaskSpec:
    """Return the spec of these arguments, checked; equal ones give the same object.

    Raises TypeError or ValueError (PatternError among them) with what came.
    """
    # An array with a rate may be written to, and would be looked up by its identity.
    rate = p if type(p) is float else check_rate(p)
    # By its text, for an error shows how a pattern was written, which equal ones may differ in.
    text = pattern.text if isinstance(pattern, Pattern) else pattern
    given = text, rate, exact, balance, block, region, scale, sizes, ragged
    # 2.0 and True equal 2 and 1: looked up, they would be taken for these, and not refused.
    if (block or sizes) and not all(type(size) is int for _, size in block + sizes):
        return _checked(*given)
    try:
        return _known(*given)
    except TypeError:
        pass  # Something cannot be looked up: the checks say what is wrong with it.
    return _checked(*given)


def _checked(
    pattern: str | Pattern,
    p: float,
    exact: str | None,
    balance: str | None,
    block: Sizes,
    region: str,
    scale: str | None,
    sizes: Sizes,
    ragged: bool,
) -> MaskSpec:
    check_rate(p)
    check_region(region)
    check_scale(scale)
    given = [n for n, v in (("exact", exact), ("balance", balance), ("block", block)) if v]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other: give one of them")
    parsed = Pattern.parse(pattern)
    return MaskSpec(parsed, p, exact, balance, block, region, scale, sizes, ragged)


_known = lru_cache(maxsize=4096, typed=True)(_checked)


def forget_specs() -> None:
    """Forget all specs, and with them what backends remember of each, as where kernels change."""
    _known.cache_clear()


def keywords(options: Sequence[Any]) -> list[str]:
    """Return those of a spec's options that are not the defaults, as they stand in a call."""
    found = []
    for (name, default), value in zip(OPTIONS, options, strict=True):
        if name == "sizes":
            found += [f"{axis}={size}" for axis, size in value]
        elif name != "ragged" and value != default:
            found.append(f"{name}={dict(value) if name == 'block' else value!r}")
    return found


def _warning(law: Law, binding: Binding) -> str:
    """Return what to say where `exact` drops another fraction than p, by more than a tenth.

    Of p, or of 1 - p where that is less: to drop all is as far from 0.95 as to drop nothing is
    from 0.05.
    """
    rate = law.rate(binding.coins)
    if law.exact is None or abs(rate - law.p) <= 0.1 * min(law.p, 1 - law.p):
        return ""
    name, n = binding.names[law.exact], binding.coins[law.exact]
    return (
        f"exact={name!r} always drops {n - survivors(law.p, n)} of {n}, which is {rate:.3g} and "
        f"not p={law.p:g}: balance={name!r} drops as evenly, at the rate asked for"
    )


def check_rate(p: Any, name: str = "p") -> float:
    """Return `p` as a float from 0 to 1. Raises TypeError or ValueError with what came."""
    many = getattr(p, "ndim", 0) > 0
    if isinstance(p, (bool, np.bool_, str)) or not hasattr(p, "__float__") or many:
        raise TypeError(f"{name} is the fraction to drop, a number from 0 to 1, not {p!r}")
    if not 0 <= p <= 1:
        raise ValueError(f"{name} is the fraction to drop, from 0 to 1, not {p}")
    return float(p)


def check_region(region: Any) -> str:
    """Return `region`, which says where the centres of blocks may lie. Raises ValueError."""
    if region not in REGIONS:
        raise ValueError(f"region is one of {', '.join(map(repr, REGIONS))}, not {region!r}")
    return str(region)


def check_scale(scale: Any) -> str | None:
    """Return `scale`, which says what kept values are multiplied by. Raises ValueError."""
    if scale not in SCALES:
        raise ValueError(f"scale is one of {', '.join(map(repr, SCALES))}, not {scale!r}")
    return None if scale is None else str(scale)


def check_block_size(name: str, size: Any) -> int:
    """Return a block's size along the axis `name`. Raises ValueError."""
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise ValueError(f"block={{{name!r}: {size!r}}} is not a size: a whole number from 1 on")
    return int(size)


def as_sizes(mapping: Mapping[str, int] | None, argument: str) -> Sizes:
    """Return a mapping of axis names to sizes as pairs. Raises TypeError for anything else."""
    if mapping is None:
        return ()
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{argument} gives a size for each axis, as in dict(h=7, w=7): {mapping!r}")
    return tuple(mapping.items())

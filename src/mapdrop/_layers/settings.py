"""What every framework's layers share: settings that are checked whenever one is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from mapdrop.spec.mask_spec import (
    Sizes,
    as_sizes,
    check_block_size,
    check_rate,
    check_region,
    check_scale,
)
from mapdrop.spec.pattern import ELLIPSIS, Pattern
from mapdrop.spec.seed import check_uint64

# What other libraries call the rate, or the fraction kept.
_RATES = {"p", "rate", "drop_prob", "drop_rate", "dropout_rate", "keep_prob"}


class Settings:
    """Check each setting where it is set: when the layer is made, and ever after.

    A layer keeps its settings as plain attributes, so that to read one costs nothing, copies and
    pickles need no care, and a compiler guards them as it does any other.

    Attributes:
        rate_name: what the framework calls the rate.
        fixed: settings that the pattern was made from, which cannot change alone.
    """

    rate_name: ClassVar[str] = "p"
    fixed: ClassVar[frozenset[str]] = frozenset()
    pattern: str
    exact: str | None
    balance: str | None
    block: Sizes
    region: str
    scale: str | None
    sizes: Sizes
    ragged: bool

    @property
    def _mask_arguments(self) -> tuple[Any, ...]:
        """The arguments of a backend's `mask_spec`, as the layer has them now."""
        return (
            self.pattern,
            getattr(self, self.rate_name),
            self.exact,
            self.balance,
            self.block,
            self.region,
            self.scale,
            self.sizes,
            self.ragged,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
            return
        if name in self.fixed and name in vars(self):
            raise AttributeError(
                f"{name} is part of the layer's pattern, {vars(self).get('pattern')!r}: "
                f"make another {type(self).__name__}"
            )
        super().__setattr__(name, self._checked(name, value))

    def _checked(self, name: str, value: Any) -> Any:
        if name == self.rate_name:
            return check_rate(value, name)
        if name in _RATES:
            raise AttributeError(
                f"{type(self).__name__} has no {name}: set {self.rate_name}, the fraction to drop"
            )
        check = _CHECKS.get(name)
        return value if check is None else check(vars(self).get("pattern"), value)


def _axis(argument: str) -> Callable[[str | None, Any], str | None]:
    def check(pattern: str | None, name: Any) -> str | None:
        if name is not None:
            _check_coin_axis(pattern, argument, name)
        checked: str | None = name
        return checked

    return check


def _check_coin_axis(pattern: str | None, argument: str, name: Any) -> None:
    """Raises PatternError. What '...' stands for is known only when an array comes."""
    if pattern is None:  # Not yet set: a copy is made in an order of its own.
        return
    parsed = Pattern.parse(pattern)
    if ELLIPSIS not in parsed.right:
        parsed.coin_axis(argument, name)


def _block(pattern: str | None, value: Any) -> Sizes:
    sizes = _pairs(value, "block")
    for name, size in sizes:
        _check_coin_axis(pattern, "block", name)
        check_block_size(name, size)
    return sizes


def _pairs(value: Any, argument: str) -> Sizes:
    """Sizes by name, as a mapping or as the pairs that a layer keeps."""
    if isinstance(value, tuple) and all(type(p) is tuple and len(p) == 2 for p in value):
        value = dict(value)
    return as_sizes(value, argument)


_CHECKS: Mapping[str, Callable[[str | None, Any], Any]] = {
    "pattern": lambda _, value: Pattern.parse(value).text,
    "exact": _axis("exact"),
    "balance": _axis("balance"),
    "block": _block,
    "region": lambda _, value: check_region(value),
    "scale": lambda _, value: check_scale(value),
    "seed": lambda _, value: None if value is None else check_uint64(value, "seed"),
    "sizes": lambda _, value: _pairs(value, "sizes"),
}

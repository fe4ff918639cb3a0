"""Settings of the layers of every framework, checked whenever one is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from mapdrop._layers.peers import PEERS, instead_of, refusing_peers
from mapdrop.spec.binding import check_names
from mapdrop.spec.mask_spec import (
    OPTIONS,
    TIES,
    Sizes,
    as_sizes,
    check_block_size,
    check_rate,
    check_region,
    check_scale,
)
from mapdrop.spec.pattern import ELLIPSIS, Pattern
from mapdrop.spec.seed import check_uint64


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
    ragged: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A class of the user's own may have any argument.
        if "__init__" in vars(cls) and cls.__module__.startswith("mapdrop."):
            setattr(cls, "__init__", refusing_peers(vars(cls)["__init__"], cls.rate_name))  # noqa: B010

    def _set_mask(self, pattern: str | Pattern, rate: float, *options: Any) -> None:
        """Set what says which mask the layer draws; the options are those of a spec, in order."""
        self.pattern = Pattern.parse(pattern).text
        setattr(self, self.rate_name, rate)
        for (name, _), value in zip(OPTIONS, options, strict=False):
            setattr(self, name, value)

    @property
    def _mask_options(self) -> tuple[Any, ...]:
        """What a backend's `mask_spec` takes after pattern and rate, as the layer has it now."""
        return (
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
            object.__setattr__(self, name, value)  # Past a framework's tracking of attributes.
            return
        if name in _CHECKS:
            value = _CHECKS[name](vars(self).get("pattern"), value)
        elif name == "sizes":
            value = self._checked_sizes(value)
        elif name == self.rate_name:
            value = self._checked_rate(name, value)
        elif name in self.fixed and name in vars(self):
            raise AttributeError(
                f"{name} is part of the layer's pattern, {vars(self).get('pattern')!r}: "
                f"make another {type(self).__name__}"
            )
        elif name in PEERS and name not in self.fixed:
            advice = instead_of(name, self.rate_name)
            raise AttributeError(f"{type(self).__name__} has no {name}: {advice}")
        super().__setattr__(name, value)

    def _checked_rate(self, name: str, value: Any) -> float:
        return check_rate(value, name)

    def _checked_sizes(self, value: Any) -> Sizes:
        """Return sizes of axes as pairs. Raises PatternError for an axis that there is not."""
        sizes = _pairs(value, "sizes")
        pattern = vars(self).get("pattern")
        if pattern is not None:
            parsed = Pattern.parse(pattern)
            for name, size in sizes:
                check_names(parsed, {name: size}, instead=instead_of(name, self.rate_name))
        return sizes


def _coin_axis(argument: str, pattern: str | None, name: Any) -> Any:
    """Return the name of an axis with coins of its own, or None. Raises PatternError."""
    if name is None or pattern is None:  # A copy sets its attributes in an order of its own.
        return name
    parsed = Pattern.parse(pattern)
    if ELLIPSIS not in parsed.right:  # What '...' stands for is known only when an array comes.
        parsed.coin_axis(argument, name)
    return name


def _block(pattern: str | None, value: Any) -> Sizes:
    sizes = _pairs(value, "block")
    for name, size in sizes:
        _coin_axis("block", pattern, name)
        check_block_size(name, size)
    return sizes


def _pairs(value: Any, argument: str) -> Sizes:
    """Return sizes by name, of a mapping or of the pairs that a layer keeps."""
    if isinstance(value, tuple) and all(type(p) is tuple and len(p) == 2 for p in value):
        value = dict(value)
    return as_sizes(value, argument)


_CHECKS: Mapping[str, Callable[[str | None, Any], Any]] = {
    "pattern": lambda _, value: Pattern.parse(value).text,
    **{name: partial(_coin_axis, name) for name in TIES},
    "block": _block,
    "region": lambda _, value: check_region(value),
    "scale": lambda _, value: check_scale(value),
    "seed": lambda _, value: None if value is None else check_uint64(value, "seed"),
}

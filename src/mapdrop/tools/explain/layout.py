"""Which axis of the user's pattern is which axis of the photographs' feature maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mapdrop.spec.pattern import ELLIPSIS, Pattern, PatternError

Scalar = TypeVar("Scalar", bound=np.generic)

# The names by which axes are known; one without such a name takes the first role that is left.
_KNOWN = {
    "b": {"b", "batch", "n", "sample", "samples"},
    "h": {"h", "height", "y", "row", "rows"},
    "w": {"w", "width", "x", "col", "cols"},
    "t": {"t", "time", "l", "length", "s", "seq", "step", "steps"},
    "c": {"c", "ch", "chan", "chans", "channel", "channels"},
}
MEANING = {
    "b": "photographs",
    "h": "rows",
    "w": "columns",
    "t": "pixels of the middle row, read as a sequence",
    "c": "feature maps",
}


@dataclass(frozen=True)
class Layout:
    """The roles of the array's axes, in its order: letters among b, h, w, c; a sequence has t."""

    roles: tuple[str, ...]

    @property
    def sequence(self) -> bool:
        """Whether one line of each photograph stands for a sequence."""
        return "t" in self.roles

    def arrange(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return feature maps (b, h, w, c) as the array that the pattern is for."""
        if self.sequence:
            line = maps.shape[1] // 2
            maps = maps[:, line : line + 1]
        if "b" not in self.roles:
            maps = maps[:1]
        present = maps.transpose([self._full.index(role) for role in self._inner])
        return present.reshape(present.shape[4 - len(self.roles) :])

    def restore(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return an array in the pattern's layout as (b, h, w, c): the inverse of `arrange`."""
        full = array.reshape((1,) * (4 - array.ndim) + array.shape)
        return full.transpose([self._inner.index(role) for role in self._full])

    @property
    def _full(self) -> str:
        return "bhtc" if self.sequence else "bhwc"

    @property
    def _inner(self) -> str:
        """All four roles: first the one that the pattern lacks, if any."""
        return "".join(r for r in self._full if r not in self.roles) + "".join(self.roles)


def read_layout(pattern: Pattern) -> Layout:
    """Find the axes' roles from their names, then from their order.

    Raises:
        PatternError: when the pattern has too few or too many axes for a photograph.
    """
    named = [part for part in pattern.left if part is not None]
    spare = 4 - len(named) if ELLIPSIS in pattern.names else 0
    count = len(named) + spare
    if not 3 <= count <= 4 or spare < 0:
        raise PatternError(
            f"a picture needs 3 or 4 axes, the pattern names {len(named)}",
            pattern.text,
            0,
            "photographs as 'b h w c', a sequence as 'b t c', or --shape 2,3,4 for the numbers "
            "of an array of any shape",
        )
    axes: list[set[str | None]] = []
    for part in pattern.left:
        axes += [set()] * spare if part is None else [{axis.name for axis in part}]
    return Layout(_roles(axes))


def _roles(axes: list[set[str | None]]) -> tuple[str, ...]:
    wanted = "bhwc"
    if len(axes) == 3:
        one_photograph = all(any(_KNOWN[role] & names for names in axes) for role in "hwc")
        wanted = "hwc" if one_photograph else "btc"
    found: dict[int, str] = {}
    for role in wanted:
        place = next((i for i, a in enumerate(axes) if i not in found and a & _KNOWN[role]), None)
        if place is not None:
            found[place] = role
    left = iter([role for role in wanted if role not in found.values()])
    return tuple(found[i] if i in found else next(left) for i in range(len(axes)))

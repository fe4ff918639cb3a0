"""The joints that the user asked for, out of those that there are."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Joints
from mapdrop.localize.scores import TOTAL


def chosen(joints: Sequence[str], asked: Joints | None, where: str) -> tuple[Joints, list[int]]:
    """The asked joints (None is all), and the place of each in `joints`.

    Raises:
        DataError: for a joint that isn't there, is asked for twice, or has a name that no table of
            results could have.
    """
    names = tuple(joints) if asked is None else asked
    for name in names:
        if name in ("", TOTAL):
            raise DataError(
                f"{where}: a joint is called {name!r}, as tables call the figure of all joints or "
                "none; rename it, or choose others with --bodyparts"
            )
        if name not in joints:
            close = get_close_matches(name, joints, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise DataError(f"{where}: no body part {name!r}; {hint}it has {', '.join(joints)}")
        if names.count(name) > 1:
            twice = "named twice; name it once"
            if asked is not None:
                twice = "asked for twice; name it once in --bodyparts"
            raise DataError(f"{where}: the joint {name!r} is {twice}")
    return names, [list(joints).index(name) for name in names]

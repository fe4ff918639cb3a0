"""Select the joints to use among those of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Joints
from mapdrop.localize.scores import TOTAL

LONGEST = 1000
"""Letters of a joint's name; no table or picture could show more."""


def select_joints(
    available: Sequence[str], selected: Joints | None, where: str
) -> tuple[Joints, list[int]]:
    """Return the selected joints (None selects all), and the index of each in `available`.

    Raises:
        DataError: when a joint isn't available, is selected twice, or has a name that result
            tables reserve.
    """
    names = tuple(available) if selected is None else selected
    for name in names:
        if name in ("", TOTAL):
            raise DataError(
                f"{where}: a joint is called {name!r}, which is empty or reserved for the total; "
                "rename it, or choose others with --bodyparts"
            )
        if len(name) > LONGEST:
            raise DataError(
                f"{where}: the joint {name[:20]!r}... has a name of {len(name)} letters; shorten it"
            )
        if name not in available:
            close = get_close_matches(name, available, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise DataError(f"{where}: no body part {name!r}; {hint}it has {', '.join(available)}")
        if names.count(name) > 1:
            twice = "occurs twice; rename one"
            if selected is not None:
                twice = "is selected twice; name it once in --bodyparts"
            raise DataError(f"{where}: the joint {name!r} {twice}")
    return names, [list(available).index(name) for name in names]

"""Which joint is which in a mirror: the left wrist of a flipped picture is a right one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data.base import DataError

_SURE = (
    re.compile(r"(?<![a-z])(left|right)|(?-i:Left|Right)", re.IGNORECASE),
    re.compile(r"(?<![a-z0-9])[lr](?![a-z0-9])", re.IGNORECASE),
    re.compile(r"^[LR](?=[A-Z][a-z])|(?<=[a-z])[LR]$"),
)
"""A name with one of these has a side: left_ear, ear.L, LWrist."""
_PERHAPS = (re.compile(r"left|right", re.IGNORECASE), re.compile(r"(?<=^m)[lr](?=.)|^[lr](?=.)"))
"""Many names have these by chance (upright, lip), so they count where the opposite is there too."""
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


def swaps(
    joints: Sequence[str], opposites: Mapping[str, str] | None = None
) -> npt.NDArray[np.intp]:
    """Where each joint's values come from when a picture is mirrored: `points[swaps(joints)]`.

    Pairs are found by name: left and right anywhere (leftear, hand_right, Left Wrist), the letters
    l and r as a word (l_ear, ear.R, r ankle), as a hump (LWrist, earL), or in front (lsho, FLIC's
    mluarm). A joint without a side is its own mirror image.

    Args:
        joints: K names.
        opposites: pairs to use instead of those found by name; one direction is enough. `{}` says
            that no joint has a side.

    Returns:
        (K,), a permutation that is its own inverse.

    Raises:
        DataError: when a name has a side but its opposite isn't among the joints (a flip would
            call a right ear a left one), or pairs contradict each other.

    >>> swaps(["nose", "leftear", "rightear"])
    array([0, 2, 1])
    >>> swaps(["snout", "paw a", "paw b"], {"paw a": "paw b"})
    array([0, 2, 1])
    """
    pairs: dict[str, str] = {}
    for one, other in (_by_name(joints) if opposites is None else opposites).items():
        for joint, mirror in ((one, other), (other, one)):
            if joint not in joints:
                raise DataError(f"the pair {one!r}, {other!r}: {joint!r} is none of {list(joints)}")
            if pairs.setdefault(joint, mirror) != mirror:
                raise DataError(
                    f"{joint!r} is paired with {pairs[joint]!r} and with {mirror!r}; name the pairs"
                )
    return np.array([joints.index(pairs.get(joint, joint)) for joint in joints], np.intp)


def _by_name(joints: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for joint in joints:
        sure, perhaps = (
            [name for rule in rules if (name := rule.sub(_other, joint)) != joint]
            for rules in (_SURE, _PERHAPS)
        )
        there = [name for name in (*sure, *perhaps) if name in joints]
        if there:
            pairs[joint] = there[0]
        elif sure:
            raise DataError(
                f"the joint {joint!r} has a side, but there is no {sure[0]!r} among {list(joints)} "
                "to call it in a mirrored picture; label that too, name the pairs, or train "
                "without flips"
            )
    return pairs


def _other(found: re.Match[str]) -> str:
    side = found[0]
    other = _OTHER[side.lower()]
    return other.upper() if side.isupper() else other.title() if side[0].isupper() else other

"""Find the pairs of joints that a mirrored image exchanges, such as left and right wrist."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data.base import DataError

_CERTAIN = (
    re.compile(r"(?<![a-z])(left|right)|(?-i:Left|Right)", re.IGNORECASE),
    re.compile(r"(?<![a-z0-9])[lr](?![a-z0-9])", re.IGNORECASE),
    re.compile(r"^[LR](?=[A-Z][a-z])|(?<=[a-z])[LR]$"),
)
"""Patterns of names that certainly have a side: left_ear, ear.L, LWrist."""
_AMBIGUOUS = (re.compile(r"left|right", re.IGNORECASE), re.compile(r"(?<=^m)[lr](?=.)|^[lr](?=.)"))
"""Patterns that also match by chance (upright, lip); they count only if the opposite exists."""
_OPPOSITE = {"left": "right", "right": "left", "l": "r", "r": "l"}


def swaps(
    joints: Sequence[str], opposites: Mapping[str, str] | None = None
) -> npt.NDArray[np.intp]:
    """Return the permutation of joints in a mirrored image: `points[swaps(joints)]`.

    Pairs are found by name: left and right anywhere (leftear, hand_right, Left Wrist), the letters
    l and r as a word (l_ear, ear.R, r ankle), in camel case (LWrist, earL), or as a prefix (lsho,
    FLIC's mluarm). A joint without a side is its own mirror image.

    Args:
        joints: K names.
        opposites: pairs to use instead of those found by name; one direction suffices. `{}` means
            that no joint has a side.

    Returns:
        (K,), a permutation that is its own inverse.

    Raises:
        DataError: when a name has a side but its opposite is missing (a flip would label a right
            ear as left), or when pairs contradict each other.

    >>> swaps(["nose", "leftear", "rightear"])
    array([0, 2, 1])
    >>> swaps(["snout", "paw a", "paw b"], {"paw a": "paw b"})
    array([0, 2, 1])
    """
    pairs: dict[str, str] = {}
    for one, other in (_by_name(joints) if opposites is None else opposites).items():
        for joint, mirror in ((one, other), (other, one)):
            if joint not in joints:
                raise DataError(f"the pair {one!r}, {other!r}: {joint!r} is not in {list(joints)}")
            if pairs.setdefault(joint, mirror) != mirror:
                raise DataError(
                    f"{joint!r} is paired with {pairs[joint]!r} and with {mirror!r}; name the pairs"
                )
    return np.array([joints.index(pairs.get(joint, joint)) for joint in joints], np.intp)


def _by_name(joints: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for joint in joints:
        certain, ambiguous = (
            [name for rule in rules if (name := rule.sub(_swap_side, joint)) != joint]
            for rules in (_CERTAIN, _AMBIGUOUS)
        )
        found = [name for name in (*certain, *ambiguous) if name in joints]
        if found:
            pairs[joint] = found[0]
        elif certain:
            raise DataError(
                f"the joint {joint!r} has a side, but its opposite {certain[0]!r} is not among "
                f"{list(joints)}; label that too, name the pairs, or train without flips"
            )
    return pairs


def _swap_side(found: re.Match[str]) -> str:
    side = found[0]
    opposite = _OPPOSITE[side.lower()]
    if side.isupper():
        return opposite.upper()
    return opposite.title() if side[0].isupper() else opposite

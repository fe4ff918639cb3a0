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
_STEMS = (
    *(("left", "right"), ("link", "recht"), ("gauche", "droite"), ("gauche", "droit")),
    *(("izquierd", "derech"), ("izq", "der"), ("esquerd", "direit"), ("sinistr", "destr")),
    *(("lft", "rgt"), ("sin", "dex"), ("sx", "dx"), ("l", "r")),
)
"""Parts of names that also occur by chance (upright, lip): they count if the opposite exists."""
_PARTS = re.compile("[A-Z]?[a-z]+|[A-Z]+")
_NUMBERS = re.compile(r"\d+|(?<![a-z])[a-z](?![a-z])", re.IGNORECASE)
"""What tells the names of a row of things apart."""
_SHORT = re.compile(r"(?=.*[lr])(.{1,2}|[^aeiouy]{3})", re.IGNORECASE)
"""Parts that may stand for a side: FL, rt, L1, mlf, but not ear."""


def swaps(
    joints: Sequence[str], opposites: Mapping[str, str] | None = None
) -> npt.NDArray[np.intp]:
    """Return the permutation of joints in a mirrored image: `points[swaps(joints)]`.

    Pairs are found by name: left and right anywhere (leftear, hand_right, Left Wrist), the letters
    l and r as a word (l_ear, ear.R, r ankle) or in camel case (LWrist, earL), and two names that
    differ in one such letter (FL and FR, L1 and R1, lsho and rsho) or in a few languages' words for
    left and right. A joint without a side is its own mirror image.

    Args:
        joints: K names.
        opposites: pairs to use instead of those found by name; one direction suffices. `{}` means
            that no joint has a side.

    Returns:
        (K,), a permutation that is its own inverse.

    Raises:
        DataError: when a name has a side but its opposite is missing (a flip would label a right
            ear as left), or when pairs contradict each other.

    >>> swaps(["nose", "leftear", "rightear", "FL", "FR"])
    array([0, 2, 1, 4, 3])
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


def unclear(joints: Sequence[str]) -> list[str]:
    """Return the joints without a pair whose names may yet have a side.

    >>> unclear(["nose", "leftear", "rightear", "FL", "ear"])
    ['FL']
    """
    pairs = _by_name(joints)
    return [
        joint
        for joint in joints
        if joint not in pairs
        and (
            len(_opposites(joint, joints)) > 1
            or any(map(_may_be_side, _PARTS.findall(joint)))
            or _is_twin(joint, joints)
        )
    ]


def _is_twin(joint: str, joints: Sequence[str]) -> bool:
    """Return whether it is one of just two that differ in a number or a letter: paw1, paw a.

    Three or more are a row, such as spine1, spine2 and spine3.
    """
    for found in _NUMBERS.finditer(joint):
        start, end = map(re.escape, (joint[: found.start()], joint[found.end() :]))
        others = re.compile(f"{start}(?:{_NUMBERS.pattern}){end}", re.IGNORECASE)
        if sum(others.fullmatch(name) is not None for name in joints) == 2:
            return True
    return False


def _may_be_side(part: str) -> bool:
    words = [word for stems in _STEMS if "left" not in stems for word in stems]
    return _SHORT.fullmatch(part) is not None or any(
        part.lower().startswith(word) if len(word) > 3 else part.lower() == word for word in words
    )


def _by_name(joints: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for joint in joints:
        certain = [name for rule in _CERTAIN if (name := rule.sub(_swap_side, joint)) != joint]
        found = [name for name in certain if name in joints] or _opposites(joint, joints)
        if len(found) == 1 or (found and certain):
            pairs[joint] = found[0]
        elif certain:
            raise DataError(
                f"the joint {joint!r} has a side, but its opposite {certain[0]!r} is not among "
                f"{list(joints)}; label that too, name all pairs with --pairs, or pass --no-flip"
            )
    return pairs


def _opposites(joint: str, joints: Sequence[str]) -> list[str]:
    """Return the joints whose names are this one with a part exchanged for its opposite."""
    others = set()
    for stems in _STEMS:
        for stem, opposite in (stems, stems[::-1]):
            for found in re.finditer(re.escape(stem), joint, re.IGNORECASE):
                before, after = joint[: found.start()], joint[found.end() :]
                others.add(before + _like(found[0], opposite) + after)
    return [name for name in joints if name in others]


def _swap_side(found: re.Match[str]) -> str:
    return _like(found[0], _OPPOSITE[found[0].lower()])


def _like(text: str, word: str) -> str:
    """Return a word in the case of a text."""
    if text.isupper():
        return word.upper()
    return word.title() if text[0].isupper() else word


_OPPOSITE = {"left": "right", "right": "left", "l": "r", "r": "l"}

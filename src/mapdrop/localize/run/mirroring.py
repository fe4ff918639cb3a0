"""Decide whether training images are mirrored, and which joints change places then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mapdrop.localize.data import DataError, swaps
from mapdrop.localize.data.flips import unclear

Pairs = tuple[tuple[str, str], ...]


class Mirroring(NamedTuple):
    """What is decided.

    Attributes:
        swaps: (K,), the joint that each joint becomes in a mirrored image; None without mirroring.
        reason: the pairs, or why no image is mirrored.
    """

    swaps: list[int] | None
    reason: str


def decide(joints: Sequence[str], flip: bool | None, pairs: Pairs | None = None) -> Mirroring:
    """Decide by the joints' names, unless the user has.

    Images are mirrored by default if joints come in pairs, left and right, and no other name may
    have a side. Mirror images of other things (a letter, a heart) may not exist in reality.

    Args:
        joints: K names.
        flip: whether to mirror; None is the default.
        pairs: what is left and right; None finds it by name.

    Raises:
        DataError: when images are to be mirrored, and a joint has a side but no opposite.
    """
    if flip is False:
        return Mirroring(None, "images are not mirrored: --no-flip")
    try:
        exchanged = [int(index) for index in swaps(joints, None if pairs is None else dict(pairs))]
        doubtful = [] if flip or pairs is not None else unclear(joints)
    except DataError as error:
        if flip or pairs is not None:
            raise
        return Mirroring(None, f"images are not mirrored: {error}")
    names = [f"{joints[i]}-{joints[j]}" for i, j in enumerate(exchanged) if i < j]
    if not names and not flip:
        return Mirroring(None, "images are not mirrored: no joints come in pairs, left and right")
    if doubtful:
        return Mirroring(
            None,
            f"images are not mirrored: {', '.join(doubtful)} may have a side, but no opposite is "
            "known; name all pairs with --pairs, or mirror anyway with --flip",
        )
    alone = [joint for index, joint in enumerate(joints) if exchanged[index] == index]
    return Mirroring(
        exchanged,
        f"half of the images are mirrored: pairs {', '.join(names) or 'none'}; "
        f"without a side {', '.join(alone) or 'none'}",
    )

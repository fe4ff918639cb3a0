"""Whether training images are mirrored, and what that says."""

from __future__ import annotations

import pytest

from mapdrop.localize.data import DataError
from mapdrop.localize.run.mirroring import decide
from mapdrop.localize.run.settings import TrainingSettings

EARS = ("leftear", "rightear")


def test_pairs_and_what_has_no_side_are_named() -> None:
    found = decide((*EARS, "FL", "snout", "FR"), None)
    assert found.swaps == [1, 0, 4, 3, 2]
    assert found.reason == (
        "half of the images are mirrored: pairs leftear-rightear, FL-FR; without a side snout"
    )


@pytest.mark.parametrize(
    ("joints", "reason"),
    [
        ((*EARS, "FL", "L1"), "FL, L1 may have a side, but no opposite is known; name all pairs"),
        ((*EARS, "left paw"), "'left paw' has a side, but its opposite 'right paw' is not among"),
        (("snout", "tail"), "no joints come in pairs, left and right"),
    ],
    ids=["unclear", "one side", "no pairs"],
)
def test_images_are_not_mirrored_by_default(joints: tuple[str, ...], reason: str) -> None:
    found = decide(joints, None)
    assert found.swaps is None
    assert found.reason.startswith("images are not mirrored: ")
    assert reason in found.reason


def test_the_user_decides() -> None:
    joints = (*EARS, "FL", "paw")
    assert decide(joints, True).swaps == [1, 0, 2, 3]
    assert decide(joints, None, (("paw", "FL"),)).swaps == [0, 1, 3, 2]
    assert decide(joints, False) == (None, "images are not mirrored: --no-flip")
    assert decide(("snout",), True).swaps == [0]
    with pytest.raises(DataError, match="its opposite 'right paw' is not among"):
        decide((*EARS, "left paw"), True)
    with pytest.raises(DataError, match="'tail' is not in"):
        decide(joints, None, (("paw", "tail"),))


@pytest.mark.parametrize(
    ("flip", "pairs", "message"),
    [
        (False, (("a", "b"),), "pairs have no effect without flips"),
        (None, (("a", "b"), ("b", "c")), "pairs should name each joint once, got a, b, b, c"),
    ],
    ids=["without flips", "twice"],
)
def test_settings_that_contradict_each_other(
    flip: bool | None, pairs: tuple[tuple[str, str], ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSettings(flip=flip, pairs=pairs)

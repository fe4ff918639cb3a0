"""Pairs of left and right joints, found by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdrop.localize.data import DataError, swaps
from mapdrop.localize.data.flic import JOINTS as FLIC
from mapdrop.localize.data.flips import unclear
from mapdrop.localize.data.mpii import JOINTS as MPII

PAIRS = [
    *(("leftear", "rightear"), ("left_hip", "right_hip"), ("Left Wrist", "Right Wrist")),
    *(("paw_left", "paw_right"), ("hindleftpaw", "hindrightpaw"), ("LEFT-EYE", "RIGHT-EYE")),
    *(("lsho", "rsho"), ("lank", "rank"), ("mluarm", "mruarm"), ("l1", "r1")),
    *(("l ankle", "r ankle"), ("L_Knee", "R_Knee"), ("ear_l", "ear_r"), ("ear.L", "ear.R")),
    *(("LWrist", "RWrist"), ("earL", "earR"), ("tip_l_wing", "tip_r_wing"), ("l", "r")),
    *(("FL", "FR"), ("BL", "BR"), ("L1", "R1"), ("LF", "RF"), ("hand_lt", "hand_rt")),
    *(("T1L", "T1R"), ("pawFL", "pawFR"), ("FLpaw", "FRpaw"), ("eye_lft", "eye_rgt")),
    *(("Ohr_links", "Ohr_rechts"), ("linkes Ohr", "rechtes Ohr"), ("oeil_gauche", "oeil_droit")),
    *(("oreille gauche", "oreille droite"), ("pata_izq", "pata_der"), ("zampa_sx", "zampa_dx")),
    *(("Mano Izquierda", "Mano Derecha"), ("OLHO_ESQUERDO", "OLHO_DIREITO")),
]


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_pairs_are_found_whatever_their_order(left: str, right: str) -> None:
    np.testing.assert_array_equal(swaps([left, "nose", right]), [2, 1, 0])
    np.testing.assert_array_equal(swaps([right, left]), [1, 0])


def test_four_legs_of_two_letters_are_two_pairs() -> None:
    legs = ["RL", "FL", "RR", "FR"]  # Rear and front, each left and right.
    np.testing.assert_array_equal(swaps(legs), [2, 3, 0, 1])
    assert unclear(legs) == []


@pytest.mark.parametrize("name", ["FL", "L1", "lt_hand", "mlf", "Hr", "Ohr_links", "zampa_sx"])
def test_a_name_that_may_have_a_side_is_unclear_without_its_opposite(name: str) -> None:
    assert unclear(["leftear", name, "nose", "rightear"]) == [name]


def test_names_with_two_possible_opposites_are_unclear() -> None:
    joints = ["LL", "LR", "RL", "RR"]
    np.testing.assert_array_equal(swaps(joints), range(4))
    assert unclear(joints) == joints


TWINS = [("paw1", "paw2"), ("paw a", "paw b"), ("oreille_g", "oreille_d"), ("T1a", "T1b")]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_twins_are_unclear_and_a_row_of_three_is_not(one: str, other: str) -> None:
    assert unclear(["earL", one, "earR", other]) == [one, other]
    row = ["spine1", "spine2", "spine3", "tail_a", "tail_b", "tail_c"]
    assert unclear(["earL", "earR", *row]) == []


@pytest.mark.parametrize("joints", [FLIC, MPII], ids=["FLIC", "MPII"])
def test_nothing_is_unclear_in_published_names(joints: tuple[str, ...]) -> None:
    assert unclear(joints) == []


PLAIN = ["snout", "ear", "tailbase", "lip", "upright", "cleft", "blink", "leg", "spine2", "collar"]


@pytest.mark.parametrize("name", PLAIN)
def test_a_word_is_not_unclear(name: str) -> None:
    assert unclear([name, "left hip", "right hip"]) == []


@pytest.mark.parametrize("name", ["nose", "tail", "lip", "upright", "cleft", "l1", "rump", "左"])
def test_a_name_without_a_side_is_its_own_mirror_image(name: str) -> None:
    np.testing.assert_array_equal(swaps(["a", name]), [0, 1])


@pytest.mark.parametrize("name", ["leftear", "ear_left", "l_ear", "ear.R", "RWrist", "earL"])
def test_a_side_without_its_opposite_is_an_error(name: str) -> None:
    with pytest.raises(
        DataError, match=r"has a side, but its opposite .* is not among .*; label that too"
    ):
        swaps(["nose", name])
    np.testing.assert_array_equal(swaps(["nose", name], {}), [0, 1])


def test_flics_pairs_are_the_authors() -> None:
    """Compare with KEYPOINT_FLIPMAP of their lookupPart.m, which omits joints without a side."""
    places = swaps(FLIC)
    pairs = {(FLIC[i], FLIC[j]) for i, j in enumerate(places) if i < j}
    sides = ("sho", "elb", "wri", "hip", "kne", "ank", "eye", "ear")
    expected = {(f"l{part}", f"r{part}") for part in sides}
    expected |= {(f"ml{part}", f"mr{part}") for part in ("uarm", "larm", "uleg", "lleg")}
    assert pairs == expected
    middles = ["nose", "msho", "mhip", "mear", "mtorso"]
    assert [FLIC[j] for i, j in enumerate(places) if i == j] == middles


def test_mpiis_pairs() -> None:
    expected = [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]
    np.testing.assert_array_equal(swaps(MPII), expected)


def test_pairs_can_be_given_instead() -> None:
    joints = ["leftear", "rightear", "a", "b"]
    np.testing.assert_array_equal(swaps(joints, {"b": "a"}), [0, 1, 3, 2])
    np.testing.assert_array_equal(swaps(joints, {"a": "b", "b": "a"}), [0, 1, 3, 2])
    with pytest.raises(DataError, match="'c' is not in"):
        swaps(joints, {"a": "c"})
    with pytest.raises(DataError, match="'a' is paired with 'b' and with 'leftear'"):
        swaps(joints, {"a": "b", "leftear": "a"})


@given(st.lists(st.text("lrLReft_ aigh", min_size=1, max_size=6), unique=True, max_size=8))
def test_two_mirrors_change_nothing(joints: list[str]) -> None:
    try:
        places = swaps(joints)
    except DataError:
        return
    np.testing.assert_array_equal(places[places], np.arange(len(joints)))

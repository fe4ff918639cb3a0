"""Which runs a study makes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from torch import nn

from mapdrop.study.conditions import KINDS, Condition
from mapdrop.study.grid import conditions, grid
from mapdrop.torch import DropBlock2d, Dropout, SpatialDropout2d


def test_default_rates_and_every_rate() -> None:
    assert [c.label for c in conditions(list(KINDS), None, 5)] == [
        "none",
        "element 0.5",
        "spatial 0.5",
        "block 0.2",
    ]
    assert [c.label for c in conditions(["spatial", "none"], [0.1, 0.3, 0.1], 5)] == [
        "spatial 0.1",
        "spatial 0.3",
        "none",
    ]


@pytest.mark.parametrize(
    ("drop", "layer"),
    [
        ("none", nn.Identity),
        ("element", Dropout),
        ("spatial", SpatialDropout2d),
        ("block", DropBlock2d),
    ],
)
def test_each_kind_is_the_layer_of_its_name(drop: str, layer: type[nn.Module]) -> None:
    made = Condition(drop, 0.25, block_size=3).layer()
    assert type(made) is layer
    assert getattr(made, "p", 0.25) == 0.25
    if drop == "block":
        assert "3" in repr(made)


def test_the_grid_finishes_one_seed_before_the_next() -> None:
    chosen = conditions(["none", "spatial"], None, 5)
    cells = [(cell.seed, cell.condition.drop) for cell in grid(chosen, 2)]
    assert cells == [(0, "none"), (0, "spatial"), (1, "none"), (1, "spatial")]


@pytest.mark.parametrize(
    ("drops", "rates", "block", "message"),
    [
        (["spatail"], None, 5, "no dropout 'spatail', only none, element, spatial, block"),
        ([], None, 5, "each kind of dropout once"),
        (["none", "none"], None, 5, "once, got none,none"),
        (["spatial"], [1.0], 5, "between 0 and 1, got 1"),
        (["spatial"], [0.0], 5, "'none' is a rate of 0"),
        (["spatial"], [float("nan")], 5, "got nan"),
        (["block"], None, 0, "at least 1 pixel, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    drops: Sequence[str], rates: Sequence[float] | None, block: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        conditions(drops, rates, block)


def test_a_study_without_seeds_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 seed"):
        grid(conditions(["none"], None, 5), 0)

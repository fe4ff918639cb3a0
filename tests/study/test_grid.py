"""The cells of a study."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from mapdrop.localize.drop_option import KINDS, kind
from mapdrop.study.conditions import Condition
from mapdrop.study.grid import Cell, conditions, grid
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


@pytest.mark.parametrize(
    ("drop", "label", "masks"),
    [
        ("spatial+balanced", "spatial, balanced 0.5", 8),
        ("share=1", "share 1 0.5", 8),
        ("share=2", "share 2 0.5", 4),
        ("share=2+balanced", "share 2, balanced 0.5", 4),
        ("share=3+balanced+compact", "share 3, balanced, compact 0.5", 3),
        ("spatial+compact", "spatial, compact 0.5", 8),
        ("share=100", "share 100 0.5", 1),
    ],
)
def test_spatial_kinds_have_as_many_masks_as_their_names_say(
    drop: str, label: str, masks: int
) -> None:
    """Count the masks of a batch of 8; half of an even number of balanced masks keep each map."""
    (condition,) = conditions([drop], None, 5)
    assert condition.label == label
    kept = condition.layer()(torch.ones(8, 64, 2, 2))[:, :, 0, 0] > 0
    assert len(kept.unique(dim=0)) == masks
    always_half = bool((4 * kept.unique(dim=0).sum(dim=0) == 2 * masks).all())
    assert always_half == ("balanced" in drop and masks % 2 == 0)
    assert kind(drop).compact == ("compact" in drop)


def test_without_compact_the_rest_of_the_name_stays() -> None:
    names = {"share=4+balanced+compact": "share=4+balanced", "spatial": "spatial", "none": "none"}
    assert {drop: Condition(drop, 0.3, 7).plain.drop for drop in names} == names
    assert Condition("spatial+compact", 0.3, 7).plain == Condition("spatial", 0.3, 7)


def test_the_grid_finishes_one_seed_before_the_next() -> None:
    chosen = conditions(["none", "spatial"], None, 5)
    cells = [(cell.seed, cell.train_size, cell.condition.drop) for cell in grid(chosen, [8, 4], 2)]
    one = [(8, "none"), (8, "spatial"), (4, "none"), (4, "spatial")]
    assert cells == [(seed, *rest) for seed in (0, 1) for rest in one]


def test_a_cell_is_known_again_from_its_row() -> None:
    for cell in grid(conditions(["none", "block"], [0.1, 0.25], 3), [4], 2):
        assert Cell.from_row(json.loads(json.dumps({**cell.to_row(), "kind": "run"}))) == cell


@pytest.mark.parametrize(
    ("drops", "rates", "block", "message"),
    [
        (["spatail"], None, 5, "no dropout 'spatail', only none, element, spatial, block, share=N"),
        (["element+compact"], None, 5, "no dropout 'element\\+compact', only none"),
        (["share"], None, 5, "no dropout 'share', only"),
        (["share=0"], None, 5, "N from 1 to 999999, got 'share=0'"),
        (["share="], None, 5, "N from 1 to 999999, got 'share='"),
        (["share=-2+balanced"], None, 5, "N from 1 to 999999, got 'share=-2\\+balanced'"),
        (["share=1.5"], None, 5, "N from 1 to 999999, got 'share=1.5'"),
        (["share=1000000"], None, 5, "N from 1 to 999999, got 'share=1000000'"),
        (["share=02"], None, 5, "N from 1 to 999999, got 'share=02'"),
        (["share=2+balance"], None, 5, "may have \\+balanced, .*, got 'share=2\\+balance'"),
        (["share=2+compact+balanced"], None, 5, "or \\+balanced\\+compact, got 'share=2"),
        (["spatial+compact+compact"], None, 5, "got 'spatial\\+compact\\+compact'"),
        (["spatial+"], None, 5, "may have .*, got 'spatial\\+'"),
        ([], None, 5, "each kind of dropout once"),
        (["none", "none"], None, 5, "once, got none,none"),
        (["spatial"], [1.0], 5, "between 0 and 1, got 1"),
        (["spatial"], [0.0], 5, "'none' is a rate of 0"),
        (["spatial"], [float("nan")], 5, "got nan"),
        (["block"], None, 0, "at least 1 pixel, got 0"),
    ],
)
def test_invalid_conditions_are_refused(
    drops: Sequence[str], rates: Sequence[float] | None, block: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        conditions(drops, rates, block)


def test_a_study_without_seeds_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 seed"):
        grid(conditions(["none"], None, 5), [4], 0)


@pytest.mark.parametrize("sizes", [[], [4, 4], [0], [3, -1]], ids=str)
def test_invalid_training_sizes_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="each number of training images once, from 1"):
        grid(conditions(["none"], None, 5), sizes, 1)

"""The benchmark's networks train the same, compact or not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.models import MODELS, Model, find
from mapdrop.torch.compact import Costs
from tests.conftest import framework
from tests.torch.compact.agreement import ALWAYS
from tests.torch.compact.training_step import check_same, skips

pytestmark = pytest.mark.training

SPATIAL = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
WHOLE = {"enet", "vnet"}
"""These skip nothing: norms around the drops read all maps, or (vnet) samples are dropped."""


@pytest.fixture(params=MODELS, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> Model:
    chosen: Model = request.param
    if "MONAI" in chosen.source:
        framework("monai")
    return chosen


def make(model: Model) -> nn.Module:
    return model.make(small=True).double()


def inputs(model: Model) -> list[torch.Tensor]:
    return [x.double() if x.is_floating_point() else x for x in model.inputs(small=True)]


def spatial(model: Model) -> bool:
    return any(isinstance(m, SPATIAL) and m.p > 0 for m in make(model).modules())


def test_if_everything_possible_is_skipped(model: Model) -> None:
    fast = check_same(lambda: make(model), inputs(model), ALWAYS)
    assert skips(fast) == (spatial(model) and model.name not in WHOLE), str(fast.report())


def test_if_what_pays_is_skipped(model: Model) -> None:
    check_same(lambda: make(model), inputs(model), Costs(), seeds=(0,))


def test_the_registry_has_both_kinds() -> None:
    kinds = {m.name: spatial(m) for m in (find("wrn-16-4"), find("wrn-16-4-spatial"))}
    assert kinds == {"wrn-16-4": False, "wrn-16-4-spatial": True}

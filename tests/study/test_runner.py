"""What has to be the same in all conditions, and what has to differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mapdrop.localize.data import DataError, KeypointData, LoadOptions, load
from mapdrop.localize.drop_option import KINDS
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.train import Recipe
from mapdrop.study.conditions import Condition
from mapdrop.study.grid import Cell
from mapdrop.study.row_schema import check_row
from mapdrop.study.runner import Inputs, Settings, baseline, build, example_indices, run
from mapdrop.study.timing import WARM_UP, step_times, steps_timed
from mapdrop.torch.compact import Costs, schedule

SETTINGS = Settings(width=2, banks=1, recipe=Recipe(steps=4, batch=2))
CONDITIONS = [Condition(drop, kind.rate or 0.0, 3) for drop, kind in KINDS.items()]


@pytest.fixture(scope="module")
def data() -> KeypointData:
    return load("scenes", LoadOptions(train_size=4, validation_size=2, test_size=5))


def watched(
    condition: Condition, seed: int, data: KeypointData, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Tensor], list[Tensor], Any]:
    """A run's start weights, the batches it saw in training, and its result."""
    start: dict[str, Tensor] = {}
    seen: list[Tensor] = []

    def watch(module: nn.Module, args: tuple[Tensor]) -> None:
        if isinstance(module, CoarseNet) and module.training:
            if not start:
                start.update({k: v.clone() for k, v in module.named_parameters()})
            seen.append(args[0].clone())

    hook = nn.modules.module.register_module_forward_pre_hook(watch)
    try:
        result = run(Cell(condition, 4, seed), data, Inputs.of(data), SETTINGS)
    finally:
        hook.remove()
    return start, seen, result


def test_conditions_share_initial_weights_and_batches_but_not_results(
    data: KeypointData, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [watched(condition, 7, data, monkeypatch) for condition in CONDITIONS]
    (weights, batches, _), *others = runs
    assert len(batches) == 4
    for other_weights, other_batches, _ in others:
        assert list(other_weights) == list(weights)
        for name, weight in weights.items():
            torch.testing.assert_close(other_weights[name], weight, rtol=0, atol=0)
        for batch, other in zip(batches, other_batches, strict=True):
            torch.testing.assert_close(other, batch, rtol=0, atol=0)
    losses = [result.row["final_loss"] for _, _, result in runs]
    assert len(set(losses)) == len(CONDITIONS)


def test_another_seed_has_other_weights_and_batches(
    data: KeypointData, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, batches, _ = watched(CONDITIONS[0], 1, data, monkeypatch)
    two, others, _ = watched(CONDITIONS[0], 2, data, monkeypatch)
    assert not torch.equal(one["head.0.weight"], two["head.0.weight"])
    assert not torch.equal(batches[0], others[0])


def test_the_same_cell_gives_the_same_figures_whatever_the_global_generator(
    data: KeypointData,
) -> None:
    rows = []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        row = run(Cell(CONDITIONS[2], 4, 3), data, Inputs.of(data), SETTINGS).row
        assert torch.equal(torch.get_rng_state(), before)
        rows.append({k: v for k, v in row.items() if k != "seconds"})
    assert rows[0] == rows[1]


def test_masks_are_seeded() -> None:
    x = torch.randn(2, 3, 32, 32)
    heat_maps = [build(CONDITIONS[2], 3, seed, SETTINGS).train()(x) for seed in (5, 5)]
    torch.testing.assert_close(heat_maps[0], heat_maps[1], rtol=0, atol=0)
    net = build(CONDITIONS[2], 3, 5, SETTINGS).train()
    assert not torch.equal(net(x), net(x))


def test_a_row_holds_what_the_report_needs(data: KeypointData) -> None:
    steps: list[None] = []
    result = run(
        Cell(CONDITIONS[3], 4, 0), data, Inputs.of(data), SETTINGS, lambda: steps.append(None)
    )
    row = result.row
    assert len(steps) == 4
    assert (row["kind"], row["drop"], row["rate"], row["seed"]) == ("run", "block", 0.2, 0)
    assert row["train_size"] == 4
    assert list(row["errors"]) == ["validation", "test"]
    assert np.shape(row["errors"]["test"]) == (5, 3)
    within = np.mean(np.array(row["errors"]["test"]) <= 4)
    assert within == row["metrics"]["test"]["pck"]["4"]
    assert np.mean(row["errors"]["test"]) == pytest.approx(
        row["metrics"]["test"]["mean_error"], abs=0.01
    )
    for part in ("test", "validation", "train"):
        assert list(row["metrics"][part]["pck"]) == ["4", "8"]
        curve = row["curve"][part]
        assert (curve["radii"][0], curve["radii"][-1]) == (0, 16)
        # Both are counted from the same distances: the curve passes through the figures.
        assert curve["pck"][10] == row["metrics"][part]["pck"]["4"]
        assert curve["pck"] == sorted(curve["pck"])
    assert result.heat_maps.shape == (3, 3, 12, 12)
    assert result.points.shape == (3, 3, 2)


def test_the_images_shown_are_spread_over_the_test_images(data: KeypointData) -> None:
    assert example_indices(data).tolist() == [0, 2, 4]
    one = KeypointData(**{**vars(data), "test": data.test[:1]})
    assert example_indices(one).tolist() == [0]


def test_errors_are_in_original_pixels(data: KeypointData) -> None:
    def mean_error(scale: float) -> float:
        scaled = KeypointData(**{**vars(data), "scale": np.full(len(data.images), scale)})
        return float(baseline(scaled)["mean_error"])

    assert mean_error(4) == pytest.approx(4 * mean_error(1))


def test_the_baseline_is_the_mean_position_in_training(data: KeypointData) -> None:
    mean = data.points[data.train].mean(axis=0)
    far = np.linalg.norm(data.points[data.test] - mean, axis=-1)
    assert baseline(data)["mean_error"] == pytest.approx(far.mean())
    assert baseline(data)["pck"]["8"] == (far <= 8).mean()


def test_a_smaller_training_set_is_the_beginning_of_the_larger(data: KeypointData) -> None:
    outcomes = [
        run(Cell(CONDITIONS[0], size, 0), data, Inputs.of(data), SETTINGS) for size in (2, 4)
    ]
    assert outcomes[0].row["metrics"]["test"] != outcomes[1].row["metrics"]["test"]
    few = KeypointData(**{**vars(data), "train": data.training_subset(2)})
    same = run(Cell(CONDITIONS[0], 2, 0), few, Inputs.of(few), SETTINGS)
    assert same.row["errors"] == outcomes[0].row["errors"]
    assert data.training_subset(2).tolist() == data.train[:2].tolist()
    for size in (0, 5):
        with pytest.raises(DataError, match=f"has 4 training images, not {size}"):
            data.training_subset(size)


def test_a_missing_joint_has_no_error(data: KeypointData) -> None:
    points = data.points.copy()
    points[data.test[1], 2] = np.nan
    partly = KeypointData(**{**vars(data), "points": points})
    row = run(Cell(CONDITIONS[0], 4, 0), partly, Inputs.of(partly), SETTINGS).row
    missing = [[far is None for far in image] for image in row["errors"]["test"]]
    assert np.argwhere(missing).tolist() == [[1, 2]]


def test_a_joint_that_no_test_image_has_is_trained_and_has_no_error(data: KeypointData) -> None:
    points = data.points.copy()
    points[np.concatenate([data.test, data.validation]), 2] = np.nan
    partly = KeypointData(**{**vars(data), "points": points})
    row = run(Cell(CONDITIONS[0], 4, 0), partly, Inputs.of(partly), SETTINGS).row
    check_row({**row, "written": ""})
    assert all(image[2] is None and None not in image[:2] for image in row["errors"]["test"])
    points[data.test] = np.nan
    with pytest.raises(DataError, match="none of the 5 test images has a label"):
        KeypointData(**{**vars(data), "points": points})
    points[data.train, 1] = np.nan
    with pytest.raises(DataError, match="none of the 4 training images has '1' labelled"):
        KeypointData(**{**vars(data), "points": points})


def test_step_times_are_relative_to_none_even_if_none_is_not_compared(data: KeypointData) -> None:
    steps: list[None] = []
    rows = step_times(
        CONDITIONS[2:], data, Inputs.of(data), SETTINGS, 2, lambda: steps.append(None)
    )
    assert [row["drop"] for row in rows] == ["none", "spatial", "block"]
    assert rows[0]["ratio"] == 1
    assert all(row["step_ms"] > 0 and row["ratio"] > 0 and row["peak_mb"] > 0 for row in rows)
    assert len(steps) == 3 * (WARM_UP + 2) == steps_timed(CONDITIONS[2:], 2)


def test_a_compact_condition_is_trained_and_timed_compact(
    data: KeypointData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []

    class Counted(CoarseNet):
        def forward(self, *args: Any, **settings: Any) -> Any:
            calls.append(self.training)
            return super().forward(*args, **settings)

    def stand_in(model: CoarseNet, costs: Costs | None) -> CoarseNet:
        model.__class__ = Counted
        return model

    monkeypatch.setattr("mapdrop.torch.compact", stand_in)
    inputs, plain = Inputs.of(data), Condition("share=2+balanced", 0.5)
    expected = run(Cell(plain, 4, 3), data, inputs, SETTINGS)
    step_times([plain], data, inputs, SETTINGS, 2)
    assert calls == []
    compact = Condition("share=2+balanced+compact", 0.5)
    result = run(Cell(compact, 4, 3), data, inputs, SETTINGS)
    assert calls == 4 * [True] + 3 * [False]
    assert result.row["drop"] == "share=2+balanced+compact"
    assert result.row["metrics"] == expected.row["metrics"]
    calls.clear()
    step_times([compact], data, inputs, SETTINGS, 2)
    assert set(calls) == {True}
    assert len(calls) > WARM_UP + 2  # At least one more for the memory.


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the costs of a machine on which skipping pays; this one may be busy."""
    monkeypatch.setattr(schedule, "calibrate", lambda: Costs(own=1e12, least=0.0))


@pytest.mark.usefixtures("costs")
@pytest.mark.parametrize("drop", ["spatial", "share=8", "share=4+balanced"])
def test_compact_differs_by_rounding_only(drop: str, data: KeypointData) -> None:
    """In a few steps: rounding grows from step to step, and after hundreds it shows."""
    settings = Settings(recipe=Recipe(steps=4, batch=8))
    inputs = Inputs.of(data)

    def heat_maps(drop: str, seed: int = 3) -> Any:
        return run(Cell(Condition(drop, 0.5), 4, seed), data, inputs, settings).heat_maps

    plain = heat_maps(drop)
    np.testing.assert_allclose(heat_maps(f"{drop}+compact"), plain, rtol=0, atol=1e-5)
    assert np.abs(heat_maps("share=2") - plain).max() > 1e-4  # Other masks show in so few steps.


@pytest.mark.usefixtures("costs")
def test_compact_leaves_maps_out_in_this_network(data: KeypointData) -> None:
    """Otherwise the test above compares a thing with itself."""
    net: Any = build(Condition("share=8+compact", 0.5), 3, 0, Settings()).train()
    net(Inputs.of(data).normalised[:8])
    assert net.report().saving > 0


def test_a_run_is_decided_by_the_study_s_costs(
    data: KeypointData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured anew in each process they would differ, and with them what is left out."""

    def calibrate() -> Costs:
        raise AssertionError("a process calibrated its own costs")

    monkeypatch.setattr(schedule, "calibrate", calibrate)
    savings = []
    for costs in (Costs(own=1e12, least=0.0), Costs(own=1e3, flops=1e15)):
        settings = Settings(costs=costs)
        net: Any = build(Condition("share=8+compact", 0.5), 3, 0, settings).train()
        net(Inputs.of(data).normalised[:8])
        savings.append(net.report().saving)
    assert savings[0] > 0
    assert savings[1] == 0

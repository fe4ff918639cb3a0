"""The benchmark of skipped samples: its models, its bound, its rows and its tables."""

from __future__ import annotations

import doctest
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import gpu, samples, samples_tables
from benchmarks.models import vit
from benchmarks.models.vision import VISION_MODELS, VisionModel
from benchmarks.models.vit import Block, Size, SubsetBlock
from benchmarks.samples import AS_IS, BALANCED, NONE, OURS, ROWS, SUBSETS, Place, Row
from mapdrop.system.timing import Times
from tests.conftest import framework

SMALL = Size(width=8, heads=2, depth=3, tokens=5, batch=6)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads gain nothing on models this small, and wait long for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=VISION_MODELS, ids=lambda model: model.name)
def vision(request: pytest.FixtureRequest) -> VisionModel:
    framework("transformers")
    chosen: VisionModel = request.param
    return chosen


def activations(size: Size = SMALL) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (size.batch, size.tokens, size.width)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("module", [vit, samples], ids=lambda module: module.__name__)
def test_examples_run(module: ModuleType) -> None:
    failed, run = doctest.testmod(module)
    assert not failed
    assert run


def test_attention_is_pytorch_s_own() -> None:
    torch.manual_seed(0)
    ours = vit.Attention(8, 2).double()
    theirs = nn.MultiheadAttention(8, 2, batch_first=True).double()
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    x = activations()
    close(ours(x), theirs(x, x, x)[0])


def test_all_models_of_a_row_are_one_function_without_drops() -> None:
    row = samples.vit_row(SMALL, 0.5, both=True)
    models = samples.made(row, Place(dtype=torch.float64))
    assert list(models) == [OURS, AS_IS, NONE, SUBSETS, BALANCED]
    x = activations()
    wanted = models[NONE](x)
    for model in models.values():
        assert model.training
        close(model.eval()(x), wanted)


def _branches(block: Any, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The block with these factors for the samples of its branches."""
    x = x + first[:, None, None] * block.attention(block.norm1(x))
    y: Tensor = x + second[:, None, None] * block.mlp(block.norm2(x))
    return y


def test_the_block_drops_as_timm_s_does() -> None:
    torch.manual_seed(0)
    block, x = Block(8, 2, 0.25).double(), activations()
    torch.manual_seed(3)
    y = block(x)
    torch.manual_seed(3)
    first, second = (torch.empty(6, 1, 1).double().bernoulli_(0.75) / 0.75 for _ in range(2))
    assert 0 < (first == 0).sum() + (second == 0).sum() < 12
    close(y, _branches(block, x, first.flatten(), second.flatten()))


@pytest.mark.parametrize(("p", "kept"), [(0.1, 5), (0.2, 4), (0.5, 3), (0.9, 1)])
def test_the_other_block_keeps_a_floor_of_samples_as_dinov2_s_does(p: float, kept: int) -> None:
    torch.manual_seed(0)
    block, x = SubsetBlock(8, 2, p).double(), activations()
    torch.manual_seed(3)
    y = block(x)
    torch.manual_seed(3)
    factors = []
    for _ in range(2):
        factor = torch.zeros(6, dtype=torch.float64)
        factor[torch.randperm(6)[:kept]] = 6 / kept
        factors.append(factor)
    close(y, _branches(block, x, *factors))


def test_balanced_blocks_keep_floor_or_ceil() -> None:
    torch.manual_seed(0)
    block, x = samples.balanced(8, 2, 0.4).double(), activations()
    counts = set()
    block.drop1.register_forward_hook(
        lambda layer, inputs, y: counts.add(int(y.flatten(1).any(1).sum()))
    )
    for _ in range(40):
        block(x)
    assert counts == {3, 4}  # Of 0.6 * 6.


def test_the_rows_have_the_rates_they_name() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    uniform = samples.made(samples.vit_row(SMALL, 0.3))
    assert samples.layer_rates(uniform[AS_IS]) == {"0": 0.3, "1": 0.3, "2": 0.3}
    assert samples.layer_rates(uniform[OURS]) == samples.layer_rates(uniform[AS_IS])
    assert samples.layer_rates(uniform[NONE]) == {}
    ramped = samples.made(samples.vit_row(SMALL, 0.3, ramps=True, compiled=True))
    for name in (OURS, AS_IS, SUBSETS):
        assert samples.layer_rates(ramped[name]) == {"1": 0.15, "2": 0.3}


def test_the_package_s_models_have_the_rates_they_name(vision: VisionModel) -> None:
    models = samples.made(samples.package_row(vision, 0.4, small=True))
    rates = samples.layer_rates(models[AS_IS])
    assert max(rates.values()) == pytest.approx(0.4)
    assert (len(set(rates.values())) > 1) is vision.ramps
    assert samples.layer_rates(models[NONE]) == {}
    assert not [m for m in models[AS_IS].modules() if isinstance(m, nn.Dropout) and m.p]


def test_what_is_outside_of_branches_is_all_that_runs_when_they_drop(vision: VisionModel) -> None:
    """A layer whose drops leave nothing is the identity, plus what stands outside."""
    model = samples.made(samples.package_row(vision, 0.4, small=True))[AS_IS]
    rates = samples.layer_rates(model)
    for name, layer in model.named_modules():
        if hasattr(layer, "drop_prob"):
            layer.register_forward_hook(lambda layer, inputs, y: torch.zeros_like(y))
        elif name in rates:
            layer.register_forward_hook(_is_what_is_outside(vision.outside))
    model(torch.randn(vision.images(small=True)))


def _is_what_is_outside(outside: tuple[str, ...]) -> Any:
    def check(layer: nn.Module, inputs: Any, y: Any) -> None:
        wanted = rest = inputs[0]
        for name in outside:
            rest = layer.get_submodule(name)(rest)
        torch.testing.assert_close(samples._output(y), wanted + rest if outside else wanted)

    return check


def test_the_bound_leaves_out_the_share_of_dropped_branches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = {"": 10.0, "1": 4.0, "2": 2.0, "1.mlp": 1.0, "2.mlp": 0.5}
    asked: list[set[str]] = []

    def interleaved(works: Mapping[str, Any], rounds: int, **_: Any) -> dict[str, Times]:
        for work in works.values():
            work()
        asked.append(set(works))
        return {name: Times((times[name],) * rounds) for name in works}

    monkeypatch.setattr(samples, "interleaved", interleaved)
    model = samples.made(samples.vit_row(SMALL, 0.5))[NONE].double()
    found = samples.bound({"1": 0.5, "2": 0.25}, model, activations(), ("mlp",))
    assert found == pytest.approx(10 / (10 - 0.5 * (4 - 1) - 0.25 * (2 - 0.5)))
    whole = samples.bound({"1": 0.5, "2": 0.25}, model, activations())
    assert whole == pytest.approx(10 / (10 - 0.5 * 4 - 0.25 * 2))
    assert asked == [set(times), {"", "1", "2"}]


def test_a_layer_alone_runs_as_in_the_model() -> None:
    """Its own gradients, and those of its inputs where the model asks for them."""
    model = samples.made(samples.vit_row(SMALL, 0.5), Place(dtype=torch.float64))[NONE]
    runs = samples._alone(model, activations(), ["0", "1"])
    first, second = (run() for run in runs.values())
    parameters = len(list(model[0].parameters()))  # type: ignore[index]
    assert (len(first), len(second)) == (parameters, parameters + 1)  # type: ignore[arg-type]
    assert all(gradient is not None for gradient in (*first, *second))  # type: ignore[misc]
    assert not model[0]._forward_pre_hooks  # type: ignore[index]


MIDDLE = Size(width=16, heads=2, depth=3, tokens=64, batch=16)


def test_a_record_has_what_tables_need() -> None:
    record = samples.measured(samples.vit_row(MIDDLE, 0.75), rounds=2)
    assert set(record["milliseconds"]) == set(record["bytes"]) == {OURS, AS_IS, NONE, SUBSETS}
    assert set(record["gains"]) == {AS_IS, NONE, SUBSETS}
    assert all(gain > 0 for gain in record["gains"].values())
    assert isinstance(record["bound"], float)
    # 4 of 16 samples are kept, and the weights' gradients are whole.
    assert record["bytes"][SUBSETS] < 0.5 * record["bytes"][NONE] < 0.5 * record["bytes"][AS_IS]
    json.dumps(record)


def test_the_peak_has_the_gradients_that_a_step_makes() -> None:
    """Those of the step before, which it frees, do not count against them."""
    model, x = nn.Linear(1000, 1000, bias=False), torch.ones(1, 1000)
    step = partial(samples.step, model, x, x)
    step()
    assert 4e6 <= samples._peak(model, step, samples.CPU) < 4.1e6


def test_what_compact_adds_is_for_a_branch() -> None:
    record = samples.added(rounds=3)
    assert set(record["us added a branch"]) == {"as usual", "skips", "skips nothing"}
    assert all(abs(us) < 1e4 for us in record["us added a branch"].values())
    assert torch.get_num_threads() == 1


@pytest.mark.compiler
def test_a_gpu_s_rows_can_be_made_elsewhere() -> None:
    eager, compiled = gpu.branches(SMALL, 2, Place("cpu", torch.bfloat16))
    assert set(eager["milliseconds"]) == {OURS, AS_IS, NONE, SUBSETS, BALANCED}
    assert set(compiled["milliseconds"]) == {OURS, AS_IS, NONE, SUBSETS}
    assert (eager["compiled"], compiled["compiled"]) == (False, True)
    assert "2 blocks" in compiled["model"]
    assert "3 blocks" in eager["model"]
    assert eager["dtype"] == "torch.bfloat16"
    assert compiled["graph_breaks"] is not None
    assert gpu.PARTS["samples"] is gpu.branches


def _rows(folder: Path, ours: Mapping[str, float], rows: list[Row] = ROWS) -> Path:
    """Appends a record of every row: of 200 ms as it is, and of ours those given, or 250."""
    file = folder / "samples.jsonl"
    machine = {
        "processor": "some",
        "threads": 2,
        "date": "today",
        "torch": "2",
        "transformers": "5",
    }
    with file.open("a") as lines:
        for row in rows:
            time = ours.get(row.name, 250.0)
            gains = {AS_IS: 200 / time, NONE: 190 / time}
            if row.name.startswith("ViT"):
                gains[SUBSETS] = 125 / time
            record = {
                "row": row.name,
                "model": row.model,
                "rates": row.rates,
                "compiled": row.compiled,
                "gains": gains,
                "bytes": {OURS: 300, AS_IS: 400},
                "bound": 4.0,
            }
            lines.write(json.dumps(record | machine) + "\n")
        added = {"row": "added", "us added a branch": {"as usual": 12.3, "skips": 174.4}}
        lines.write(json.dumps(added | machine) + "\n")
    return file


PAGE = """before
<!-- samples -->
old
<!-- /samples -->
after
"""


def test_the_tables_say_what_the_rows_say(tmp_path: Path) -> None:
    first, swin = "ViT, p = 0.5", "Swin, p = 0 to 0.4"
    text = samples_tables.filled(PAGE, _rows(tmp_path, {first: 100.0, swin: 160.0}))
    model = "ViT, width 384, 6 blocks, 196 tokens, batch 16"
    line = f"| {model} | 0.5 | **2.00x** (50% of the bound) | 4.00x | 1.90x | 1.25x | 0.75 |"
    package = (
        "| Swin, 112x112, batch 8 | 0 to 0.4 | **1.25x** (31% of the bound) | 4.00x | 1.19x |  |"
    )
    assert line in text
    assert package in text
    assert "adds 12 µs to a branch" in text
    assert "174 µs if it is made to" in text
    assert "some, 2 threads, today; torch 2, transformers 5." in text
    assert text.count("| 0.75 |") == len(ROWS)
    assert f"| {model}, compiled | 0.5 | **0.80x**" in text
    assert "old" not in text
    again = samples_tables.filled(text, _rows(tmp_path, {first: 50.0}))
    assert "**4.00x** (100% of the bound)" in again, "the newest row of a name counts"
    assert samples_tables.filled(again, tmp_path / "samples.jsonl") == again


def test_the_tables_cannot_be_made_without_their_rows(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run python -m benchmarks\.samples"):
        samples_tables.filled(PAGE, tmp_path / "none.jsonl")
    with pytest.raises(LookupError, match=r"never run: \['ViT, p = 0\.05'\]"):
        samples_tables.filled(PAGE, _rows(tmp_path, {}, ROWS[1:]))


def test_the_page_s_table_is_that_of_the_committed_rows() -> None:
    text = samples_tables.PAGE.read_text(encoding="utf-8")
    assert samples_tables.filled(text) == text, "run: python -m benchmarks.samples_tables"

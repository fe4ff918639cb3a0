"""The benchmark of Monte-Carlo predictions: its ways agree, and its bound counts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import predict as benchmark
from benchmarks import predict_tables
from benchmarks.models.resnet import resnet34
from benchmarks.models.vgg import vgg16
from benchmarks.predict import LOOP, OURS, REPEATED, Row, bound, measured, ways


def test_a_record_has_all_ways() -> None:
    row = Row("small", partial(resnet34, 0.5, width=4, classes=3), (2, 3, 32, 32), 3)
    record = measured(row, rounds=1)
    assert set(record["gains"]) == {LOOP, REPEATED}
    assert set(record["milliseconds"]) == set(record["bytes"]) == {OURS, LOOP, REPEATED}
    assert record["bound"] > 1


def test_all_ways_estimate_the_same_mean() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)).eval()
    x, count = torch.randn(3, 4), 4000
    found = ways(net, x, count)
    prediction = found[OURS]()
    for name in (LOOP, REPEATED):
        mean, std = found[name]()
        error = 6 * (2 / count) ** 0.5 * std
        assert bool(((mean - prediction.mean).abs() < error).all()), name
        assert not torch.equal(mean, net(x))


@pytest.mark.parametrize("rate", [0.5, 0.25])
def test_the_bound_counts_what_is_kept(rate: float) -> None:
    """Of 8 -> 8 -> 2 values a drop between keeps a share of the inputs of the last."""
    net = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Dropout2d(rate), nn.Conv2d(8, 2, 1)).eval()
    first, last, passes = 8 * 8, 8 * 2, 10
    # The first convolution is the same in every pass, so that it is computed once, and whole.
    want = passes * (first + last) / (first + passes * last * (1 - rate))
    assert bound(net, torch.ones(1, 8, 4, 4), passes) == pytest.approx(want)


def test_the_classifier_of_vgg_is_all_that_varies() -> None:
    net = vgg16(classes=5, width=2, side=32).eval()
    assert bound(net, torch.ones(1, 3, 32, 32), 50) > 5
    assert [row.name for row in benchmark.ROWS if row.build is vgg16] == ["VGG-16, its classifier"]


def test_the_table_is_that_of_the_committed_rows(tmp_path: Path) -> None:
    text = predict_tables.PAGE.read_text(encoding="utf-8")
    assert predict_tables.filled(text) == text, "run: python -m benchmarks.predict_tables"
    start, end = text.index("<!-- predict -->"), text.index("<!-- /predict -->")
    changed = text.replace(text[start:end], text[start:end].replace("x** |", "1x** |"))
    assert changed != text
    assert predict_tables.filled(changed) == text
    with pytest.raises(FileNotFoundError, match=r"run python -m benchmarks\.predict"):
        predict_tables.table(tmp_path / "none.jsonl")
    few = tmp_path / "few.jsonl"
    few.write_text(benchmark.RESULTS.read_text().splitlines()[0])
    with pytest.raises(LookupError, match="never run"):
        predict_tables.table(few)

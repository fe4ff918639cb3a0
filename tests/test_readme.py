"""The README's code runs, and its figures are those of the committed rows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import tables

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_its_whole_api_stands_in_three_code_blocks() -> None:
    assert len(BLOCKS) == 3


def test_its_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"x": np.ones((4, 8, 8, 16), np.float32), "nn": nn}
    for block in BLOCKS:
        exec(block, names)
    assert (tmp_path / "mask.npz").exists()
    net = names["net"]
    assert isinstance(net, nn.Module)
    y = net(torch.ones(2, 3, 9, 9))
    assert y.shape == (2, 9, 7, 7)
    assert names["m"].coins.shape == (4, 16)  # type: ignore[attr-defined]


def test_its_error_is_the_one_that_is_raised() -> None:
    shown = re.findall(r"PatternError: (.*?)```", README, re.DOTALL)
    from mapdrop.torch import SpatialDropout2d

    with pytest.raises(ValueError, match="takes 4 axes") as caught:
        SpatialDropout2d(0.5)(torch.ones(8, 64, 100))
    assert str(caught.value) == shown[0].rstrip("\n")


def test_its_table_of_speed_is_that_of_the_committed_rows() -> None:
    assert tables.filled(README) == README, "run: python -m benchmarks.tables"
    assert tables.filled(README.replace("| 1,000 values", "| 1,001 values")) == README


def test_its_files_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (Path(__file__).parent.parent / link).exists(), link

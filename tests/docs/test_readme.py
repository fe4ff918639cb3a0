"""The README: its code runs, its error is real, and every reader's renderer finds its links."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mypy import api as mypy
from torch import nn

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 120


def test_its_code_runs() -> None:
    x = np.ones((4, 8, 8, 16), np.float32)
    names: dict[str, object] = {"x": x, "images": torch.ones(2, 3, 9, 9), "nn": nn}
    for block in BLOCKS:
        exec(block, names)
    net, fast, y = names["net"], names["fast"], names["y"]
    assert isinstance(net, nn.Module)
    assert isinstance(fast, nn.Module)
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net(torch.ones(2, 3, 9, 9)).shape == (2, 9, 7, 7)
    assert np.isin(y, (0, 2)).all()


def test_type_checkers_take_its_code(tmp_path: Path) -> None:
    """With its twin in one run, which keeps nothing: it takes its time for reading PyTorch."""
    head = "import torch\nfrom torch import nn\nimages = torch.ones(2, 3, 9, 9)\n"
    code = "import mapdrop.torch\n".join([head, "\n".join(BLOCKS[1:])])
    for name, line in (("readme", ""), ("twin", "fast.report()")):
        (tmp_path / f"{name}.py").write_text(f"{code}\n{line}\n", encoding="utf-8")
    options = ["--strict", "--config-file=", f"--cache-dir={os.devnull}"]
    out, errors, _ = mypy.run([*options, *map(str, sorted(tmp_path.iterdir()))])
    assert re.findall(r"(\w+)\.py:\d+: error: ", out) == ["twin"], out + errors


def test_its_error_is_the_one_that_is_raised() -> None:
    shown = re.findall(r"PatternError: (.*?)```", README, re.DOTALL)
    from mapdrop.torch import SpatialDropout2d

    with pytest.raises(ValueError, match="takes 4 axes") as caught:
        SpatialDropout2d(0.5)(torch.ones(8, 64, 100))
    assert str(caught.value) == shown[0].rstrip("\n")

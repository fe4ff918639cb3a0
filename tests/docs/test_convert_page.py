"""docs/convert.md: its code runs, and its report is what a model's conversion prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import framework

PAGE = (Path(__file__).parents[2] / "docs" / "convert.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
REPORT = re.findall(r"```\n(replaced.*?)```", PAGE, re.DOTALL)


def _dinov2() -> Any:
    torch, transformers = framework("torch"), framework("transformers")
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        mlp_ratio=2,
        hidden_dropout_prob=0.1,
        drop_path_rate=0.2,
    )
    return transformers.Dinov2Model(config)


def test_its_report_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    exec(BLOCKS[0], {"model": _dinov2()})
    # Another version of transformers has the call in another line.
    printed, wanted = (re.sub("line [0-9]+", "line", t) for t in (capsys.readouterr().out, *REPORT))
    assert printed == wanted


def test_another_kind() -> None:
    import mapdrop.torch

    model = _dinov2()
    exec(BLOCKS[1], {"mapdrop": mapdrop, "model": model})
    found = [repr(m) for m in model.modules() if isinstance(m, mapdrop.torch.Drop)]
    path = "DropPath('b ... -> b', p=0.2, balance='b')"
    assert found == ["Drop('b t c -> b c', p=0.1)", path, path]

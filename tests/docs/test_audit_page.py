"""The page's code gives the page's report, but for times and what was drawn."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from mapdrop.torch.audit.checks import CHECKS

TEXT = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
NET, CALL = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
(SHOWN,) = re.findall(r"```\n(drop .*?)```", TEXT, re.DOTALL)


def comparable(report: str) -> list[str]:
    """Lines without the width of columns, what was measured and times."""
    return re.sub(r"( 0\.\d{4}| [\d.]+%)", "", re.sub(r" +", " ", report)).splitlines()


def test_its_report_is_what_its_code_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        import_module("mapdrop.torch.audit.audit"), "_skipped", lambda model, given: (None, [])
    )
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(compile(NET, "net.py", "exec"), names)
    exec(CALL.replace("print(found)", ""), names)
    found = names["found"]
    assert comparable(str(found)) == comparable(SHOWN.rstrip("\n"))
    assert all(abs(drop.rate - drop.p) < 0.02 for drop in found.drops)


def test_its_table_has_every_check() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", TEXT.partition("## Findings")[2], re.MULTILINE)
    assert rows[2:] == list(CHECKS)

"""The page's table has every check."""

from __future__ import annotations

import re

from mapdrop.torch.audit.checks import CHECKS
from tests.docs.pages import ROOT


def test_its_table_has_every_check() -> None:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \|", text.partition("## Findings")[2], re.MULTILINE)
    assert rows[2:] == list(CHECKS)

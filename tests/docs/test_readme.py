"""The README is short, and type checkers take its code. That it runs is for `test_pages.py`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mypy import api as mypy

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n((?!>>>).*?)```", README, re.DOTALL)


def test_it_is_short() -> None:
    shown = re.sub(r"<!--.*?-->\n", "", README, flags=re.DOTALL)
    assert len(shown.splitlines()) <= 125
    assert len(BLOCKS) == 3


def test_type_checkers_take_its_code(tmp_path: Path) -> None:
    """With its twin in one run, which keeps nothing: it takes its time for reading PyTorch."""
    head = "import torch\nfrom torch import nn\nimages = torch.ones(2, 3, 9, 9)\n"
    code = "import mapdrop.torch\n".join([head, "\n".join(BLOCKS[1:])])
    for name, line in (("readme", ""), ("twin", "fast.report()")):
        (tmp_path / f"{name}.py").write_text(f"{code}\n{line}\n", encoding="utf-8")
    options = ["--strict", "--config-file=", f"--cache-dir={os.devnull}"]
    out, errors, _ = mypy.run([*options, *map(str, sorted(tmp_path.iterdir()))])
    assert re.findall(r"(\w+)\.py:\d+: error: ", out) == ["twin"], out + errors

"""What docs/coming-from.md says: its blocks of code, run as they stand, and its tables."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TEXT = (Path(__file__).parents[3] / "docs/coming-from.md").read_text(encoding="utf-8")


def entries(text: str = TEXT) -> dict[str, list[str]]:
    """For each entry (what stands between backquotes in its heading) its blocks of Python.

    Raises ValueError for a page without entries, and for an entry that lacks a part.
    """
    found: dict[str, list[str]] = {}
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        heading, body = part.split("\n", 1)
        body = re.split(r"^## ", body, flags=re.MULTILINE)[0]
        blocks = re.findall(r"^```python\n(.*?)^```$", body, re.DOTALL | re.MULTILINE)
        if not blocks:
            raise ValueError(f"{heading!r} has no code")
        for name in ("old", "new"):
            if not all(re.search(rf"^(def )?{name}\b", block, re.MULTILINE) for block in blocks):
                raise ValueError(f"a block of {heading!r} has no {name!r}")
        if not re.search(r"\n- \*\*Same:\*\* .*\n- \*\*Differs:\*\* ", body, re.DOTALL):
            raise ValueError(f"{heading!r} doesn't say what is the same and what differs")
        if found.setdefault(heading, blocks) is not blocks:
            raise ValueError(f"{heading!r} stands there twice")
    if not found:
        raise ValueError("the page has no entries")
    return found


def run(block: str, p: float) -> Any:
    """What the block defines, for this p."""
    names: dict[str, Any] = {"p": p}
    exec(compile(block, "docs/coming-from.md", "exec"), names)
    return SimpleNamespace(**names)


def head(heading: str) -> list[str]:
    """The names of the columns of the table under a heading."""
    return _lines(heading, TEXT)[0]


def table(heading: str, text: str = TEXT) -> list[list[str]]:
    """The rows of the table under a heading. Raises ValueError where there is none."""
    return _lines(heading, text)[2:]


def _lines(heading: str, text: str) -> list[list[str]]:
    _, _, body = text.partition(f"\n## {heading}\n")
    lines = re.split(r"^## ", body, flags=re.MULTILINE)[0].splitlines()
    rows = [re.findall(r"(?<=\| ).*?(?= \|)", line) for line in lines if line.startswith("|")]
    if len(rows) < 3:
        raise ValueError(f"no table under {heading!r}")
    return rows

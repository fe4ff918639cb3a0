"""Links and paths in the pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/*.md")]
)


def _prose(page: Path) -> str:
    """Return the page without its blocks of code, whose comments look like headings."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """Return what GitHub calls the headings: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Return the relative links of the page that lead nowhere."""
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", _prose(page)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert broken_links(ROOT / page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `head`, and more\n[a](#a-head-and-more) [b](page.md) [c](https://example.org)\n"
        "```\n# no heading\n[d](code.md)\n```\n[e](#no-heading) [f](gone.md) [g](page.md#gone)\n"
    )
    assert broken_links(page) == ["#no-heading", "gone.md", "page.md#gone"]


def missing_paths(page: Path) -> list[str]:
    """Return the paths in backquotes that no file or folder of the repository ends with."""
    known = [
        f"/{path.relative_to(ROOT).as_posix()}"
        for folder in ("src", "tests", "docs", "benchmarks")
        for path in (ROOT / folder, *(ROOT / folder).rglob("*"))
    ]
    known += [f"/{path.name}" for path in ROOT.iterdir()]
    named = re.findall(r"`([\w./-]+(?:/|\.(?:py|md|json|toml|txt)))`", _prose(page))
    return [
        path
        for path in named
        if "NAME" not in path and not any(one.endswith(f"/{path.rstrip('/')}") for one in known)
    ]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_named_paths_exist(page: str) -> None:
    assert missing_paths(ROOT / page) == []


def test_missing_paths_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`tests/docs/` `spec/pattern.py` `spec/gone.py` `gone/` `backends/NAME.py` `p`\n"
    )
    assert missing_paths(page) == ["spec/gone.py", "gone/"]

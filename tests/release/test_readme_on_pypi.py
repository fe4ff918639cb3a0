"""PyPI renders the README, and its links and pictures lead somewhere from there."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from readme_renderer import markdown

from tests.release.conftest import ROOT, Built

pytestmark = pytest.mark.subprocess


class _Targets(HTMLParser):
    """The addresses of a page's links and pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def dead_on_pypi(text: str) -> list[str]:
    """Return the links and pictures of a page of Markdown that need its folder to lead anywhere."""
    page = markdown.render(text)
    assert page, "PyPI does not render it"
    targets = _Targets()
    targets.feed(page)
    return [target for target in targets.found if not target.startswith(("https://", "#"))]


def test_links_and_pictures_of_the_readme_are_absolute(built: Built) -> None:
    text = built.metadata.get_payload()
    assert isinstance(text, str)
    assert text.strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    assert dead_on_pypi(text) == []


def test_relative_ones_are_seen() -> None:
    text = (
        "[a](https://example.org/a) [b](docs/b.md) ![c](docs/c.png) ![d](https://example.org/d.png)"
        "\n[e](#e) [f][1] <a href='/g'>g</a> `[h](h.md)`\n\n[1]: ../f.md\n"
    )
    assert dead_on_pypi(text) == ["docs/b.md", "docs/c.png", "../f.md", "/g"]


def _twine(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_twine_finds_no_fault(built: Built) -> None:
    done = _twine(built.sdist, built.wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_twine_finds_faults(tmp_path: Path) -> None:
    broken = tmp_path / "mapdrop-1.0-py3-none-any.whl"
    broken.write_bytes(b"not a wheel")
    assert _twine(broken).returncode != 0

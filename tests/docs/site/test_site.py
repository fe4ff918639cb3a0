"""The site is built without a warning, and each page is whole on a phone and asks nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.docs.browser import chromium
from tests.docs.site.crawl import PHONE, Seen, dead_links, look, served

pytestmark = pytest.mark.subprocess

ROOT = Path(__file__).parents[3]
# Included in other pages, or no pages.
PAGES = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))


def build(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build a site as `make docs` does."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(out)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )


@dataclass(frozen=True)
class Site:
    """A built site that a browser has looked at, page by page."""

    folder: Path
    root: str
    seen: dict[str, Seen]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stderr
    with served(folder) as root, chromium() as browser:
        context = browser.new_context(viewport=PHONE)  # type: ignore[arg-type]
        seen = {root + _path(page): look(context, root + _path(page)) for page in PAGES}
    return Site(folder, root, seen)


def _path(page: str) -> str:
    """Return where a page lies: `a/index.md` at `a/`, `a.md` at `a/`."""
    stem = page.removesuffix(".md")
    return stem.removesuffix("index") if stem.endswith("index") else f"{stem}/"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_on_a_phone(site: Site, page: str) -> None:
    check(site.seen[site.root + _path(page)], site.root)


def check(seen: Seen, root: str) -> None:
    """Raise an AssertionError for a page that a reader would complain of."""
    assert seen.width <= PHONE["width"], "the page scrolls sideways"
    assert seen.title
    assert seen.complaints == []
    assert seen.broken == []
    assert seen.unnamed == [], "a picture says in words what it shows"
    assert [url for url in seen.asked if not url.startswith((root, "data:", "blob:"))] == []


def test_all_links_lead_somewhere(site: Site) -> None:
    assert dead_links(site.seen, site.root, site.folder) == {}


def test_every_page_is_in_the_navigation() -> None:
    found: list[str] = []

    def collect(entry: object) -> None:
        if isinstance(entry, str):
            found.append(entry)
        for inner in entry if isinstance(entry, list) else []:
            collect(inner)
        for inner in entry.values() if isinstance(entry, dict) else []:
            collect(inner)

    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    collect(yaml.safe_load(text)["nav"])
    assert sorted(found) == PAGES


_BAD = {
    "wide": "<h1>A</h1><p style='width: 900px'>wide</p>",
    "no title": "<p>text</p>",
    "a script's error": "<h1>A</h1><script>gone()</script>",
    "a broken picture": "<h1>A</h1><img src='gone.png' alt='x'>",
    "a picture without words": "<h1>A</h1><img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>",
    "another server": "<h1>A</h1><script src='http://example.invalid/x.js'></script>",
}
_HEAD = (
    "<!doctype html><meta name=viewport content='width=device-width'><link rel=icon href='data:,'>"
)


def test_what_a_reader_would_complain_of_is_found(tmp_path: Path) -> None:
    (tmp_path / "good.html").write_text(f"{_HEAD}<h1>A</h1>")
    link = "<a href='good.html#there'></a><a href='gone.html'></a><a href='good.html#gone'></a>"
    (tmp_path / "links.html").write_text(f"{_HEAD}<h1 id=there>A</h1>{link}")
    (tmp_path / "good.html").write_text(f"{_HEAD}<h1 id=there>A</h1>")
    for name, text in _BAD.items():
        (tmp_path / f"{name}.html").write_text(_HEAD + text)
    with served(tmp_path) as root, chromium() as browser:
        context = browser.new_context(viewport=PHONE)  # type: ignore[arg-type]
        check(look(context, f"{root}good.html"), root)
        for name in _BAD:
            with pytest.raises(AssertionError):
                check(look(context, f"{root}{name}.html"), root)
        seen = {f"{root}{n}.html": look(context, f"{root}{n}.html") for n in ("good", "links")}
    dead = dead_links(seen, root, tmp_path)
    assert dead == {f"{root}links.html": [f"{root}gone.html", f"{root}good.html#gone"]}


@pytest.mark.parametrize(
    ("text", "code"),
    [("[a](index.md#a)", 0), ("[a](gone.md)", 1), ("[a](index.md#gone)", 1), ("[a](/gone/)", 1)],
)
def test_a_broken_link_stops_the_build(tmp_path: Path, text: str, code: int) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# A\n\n{text}\n")
    config = {"INHERIT": str(ROOT / "mkdocs.yml"), "nav": ["index.md"], "extra_css": []}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    built = build(tmp_path / "mkdocs.yml", tmp_path / "out")
    assert built.returncode == code, built.stderr
    assert ("WARNING" in built.stderr) == bool(code)

"""Links, pictures and paths in the pages lead somewhere, on GitHub and on the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from markdown.extensions.toc import slugify

from tests.docs.pages import PAGES, ROOT

DOCS = ROOT / "docs"
HTML = sorted(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.html"))
_FILES = re.compile(r"https://github\.com/mapdrop/mapdrop/(?:blob|tree|raw|edit)/main/(.*)")
_RAW = re.compile(r"https://raw\.githubusercontent\.com/mapdrop/mapdrop/main/(.*)")
_SITE = re.compile(r"https://mapdrop\.github\.io/mapdrop/(.*)")


def _prose(page: Path) -> str:
    """Return the page without its blocks of code, whose comments look like headings."""
    text = re.sub(
        r"^( *)```.*?^\1```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


class _Attributes(HTMLParser):
    """Collects what a page of HTML links to, and the names of its places."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.names |= {value or "" for name, value in attrs if name in ("id", "name")}


def links(page: Path) -> list[str]:
    """Return what a page links to, and the pictures and scripts that it shows."""
    if page.suffix == ".html":
        return _Attributes(page.read_text("utf-8")).links
    prose = re.sub(r"(`+)[^`].*?\1", "", _prose(page))
    inline = re.findall(r"\]\(<?([^)>]*)>?\)", prose)
    # The site shows a.md at a/, and leaves the addresses in HTML as they are: one folder up.
    html = [link.removeprefix("../") for link in _Attributes(prose).links]
    return [*inline, *re.findall(r"<(https?:[^>]*)>", prose), *html]


def _anchors(page: Path) -> set[str]:
    """Return the names of a page's places: of headings those that GitHub and the site agree on."""
    if page.suffix != ".md":
        return _Attributes(page.read_text("utf-8")).names
    prose = _prose(page)
    headings = re.findall(r"^#+ (.*?)(?: \{#.*\})?$", prose, re.MULTILINE)
    texts = [re.sub(r"\[(.*?)\]\(.*?\)|[`*]", r"\1", heading) for heading in headings]
    github = {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}
    given = set(re.findall(r"\{#(.*?)[ }]", prose)) | _Attributes(prose).names
    return (github & {slugify(text, "-") for text in texts}) | given


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere, and those out of the tree that look wrong."""
    return [link for link in links(page) if not _leads_somewhere(link, page)]


def _leads_somewhere(link: str, page: Path) -> bool:
    for pattern in (_FILES, _RAW):
        if found := pattern.fullmatch(link):
            return _exists(ROOT, found[1])
    if found := _SITE.fullmatch(link):
        return found[1] == "" or _exists(DOCS, found[1], site=True)
    if re.match(r"\w+:", link):
        return _is_well_formed(link)
    if link.startswith("#"):
        return link == "#" or link[1:] in _anchors(page)
    return _exists(page.parent, link, site=page.suffix == ".html")


def _exists(folder: Path, link: str, site: bool = False) -> bool:
    """Return whether a path leads to a file, on the site to a page, and to a place in it."""
    name, _, anchor = link.partition("#")
    path = folder / name.partition("?")[0]
    ends = [path]
    if site:
        place = path.parent if path.name == "index.html" else path
        ends += [place / "index.html", place / "index.md", place.parent / f"{place.name}.md"]
    target = next((end for end in ends if end.exists() and not (site and end.is_dir())), None)
    return target is not None and (not anchor or anchor in _anchors(target))


def _is_well_formed(link: str) -> bool:
    """Return whether a link out is one by its form: nobody follows it here."""
    if link.startswith(("mailto:", "data:")):
        return True
    parts = urlsplit(link)
    secure = parts.scheme == "https" and "." in parts.netloc
    return secure and not re.search(r"[\s<>\"]|[.,;:!?]$", link)


@pytest.mark.parametrize("page", [*PAGES, *HTML])
def test_links_lead_somewhere(page: str) -> None:
    assert broken_links(ROOT / page) == []


RIGHT = (
    "# A `head`, and more\n## One - two {#own}\n<a id='here'></a> [a](#a-head-and-more)"
    " [b](page.md) [c](https://example.org) [d](#own) [e](page.html#p) [f](#here)"
    " <https://example.org/a_(b)>\n![g](page.md) <img src='page.html'>"
    " [h](https://github.com/mapdrop/mapdrop/blob/main/README.md)"
    " [i](https://mapdrop.github.io/mapdrop/compact/#good-to-know)"
    " [j](https://mapdrop.github.io/mapdrop/) [k](https://github.com/mapdrop/mapdrop/issues)\n"
    "```\n# no heading\n[x](code.md)\n```\n`[x](code.md)`\n<!-- [x](hidden.md) -->\n"
)
WRONG = [
    "#no-heading",
    "#one---two",
    "gone.md",
    "page.md#gone",
    "page.html#gone",
    "gone.png",
    "https://github.com/mapdrop/mapdrop/blob/main/gone.md",
    "https://github.com/mapdrop/mapdrop/tree/main/src/gone",
    "https://raw.githubusercontent.com/mapdrop/mapdrop/main/gone.png",
    "https://mapdrop.github.io/mapdrop/gone/",
    "https://mapdrop.github.io/mapdrop/compact/#gone",
    "http://example.org",
    "https://example.org/a b",
    "https://example.org.",
    "https://nowhere",
    "htps://example.org",
]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text("<p id=p><a href='#p'></a><a href='page/'></a>")
    (tmp_path / "page.md").write_text(RIGHT)
    return tmp_path / "page.md"


def test_right_links_pass(page: Path) -> None:
    assert len(links(page)) == 13
    assert broken_links(page) == []
    assert broken_links(page.with_suffix(".html")) == []


@pytest.mark.parametrize("link", WRONG)
def test_a_broken_link_is_found(link: str, page: Path) -> None:
    for form in (f"[a]({link})", f"![a]({link})", f"<img src='{link}'>"):
        page.write_text(f"{RIGHT}\n{form}\n")
        assert broken_links(page) == [link]


@pytest.mark.parametrize("link", ["../gone/", "#gone", "gone.js", "page.png"])
def test_a_broken_link_of_html_is_found(link: str, page: Path) -> None:
    page = page.with_suffix(".html")
    page.write_text(f"<a href='{link}'></a><script src='{link}'></script>")
    assert broken_links(page) == [link, link]


def _tree() -> Iterator[str]:
    for folder in ("src", "tests", "docs", "benchmarks"):
        for path in (ROOT / folder, *(ROOT / folder).rglob("*")):
            yield f"/{path.relative_to(ROOT).as_posix()}"
    yield from (f"/{path.name}" for path in ROOT.iterdir())


def missing_paths(page: Path) -> list[str]:
    """Return the paths in backquotes that no file or folder of the repository ends with."""
    known = list(_tree())
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

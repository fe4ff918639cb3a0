"""What a browser sees of each page of a built site, on a phone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

from playwright.sync_api import BrowserContext

PHONE = {"width": 360, "height": 740}

_FACTS = """() => ({
    width: document.documentElement.scrollWidth,
    title: document.querySelector("h1")?.innerText ?? "",
    ids: [...document.querySelectorAll("[id]")].map(e => e.id),
    links: [...document.querySelectorAll("a[href], iframe[src], link[href]")]
        .map(e => e.href || e.src),
    broken: [...document.images].filter(e => e.complete && !e.naturalWidth).map(e => e.src),
    unnamed: [...document.images].filter(e => !e.hasAttribute("alt")).map(e => e.src),
})"""


@dataclass(frozen=True)
class Seen:
    """What a page is to a reader.

    Attributes:
        width: the width that the page takes, in pixels; more than the phone's scrolls sideways.
        title: the text of its first heading.
        ids: the names that a link may lead to.
        links: where its links and frames lead.
        broken: addresses of pictures that cannot be drawn.
        unnamed: addresses of pictures that have no text in their place.
        complaints: errors of scripts and of the browser.
        asked: the addresses that were asked for.
    """

    width: int
    title: str
    ids: list[str]
    links: list[str]
    broken: list[str]
    unnamed: list[str]
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder to this machine alone; yield its address, which ends in a slash."""
    handler = partial(_Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def look(context: BrowserContext, address: str) -> Seen:
    """Open a page and return what a reader sees."""
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address, wait_until="load")  # Idle may a network be before all of it is parsed.
    page.evaluate("document.querySelectorAll('[loading=lazy]').forEach(e => e.loading = 'eager')")
    page.wait_for_load_state("networkidle")
    facts = page.evaluate(_FACTS)
    page.close()
    return Seen(**facts, complaints=complaints, asked=asked)


def dead_links(seen: dict[str, Seen], root: str, folder: Path) -> dict[str, list[str]]:
    """Return, of each page, the links to this site that lead to no file or no heading."""
    dead = {
        page: sorted(
            {to for to in one.links if to.startswith(root) and _dead(to, seen, root, folder)}
        )
        for page, one in seen.items()
    }
    return {page: links for page, links in dead.items() if links}


def _dead(link: str, seen: dict[str, Seen], root: str, folder: Path) -> bool:
    address, name = urldefrag(link)
    address = address.partition("?")[0]
    path = folder / unquote(address.removeprefix(root))
    if not (path / "index.html" if path.is_dir() else path).is_file():
        return True
    page = address.removesuffix("index.html")
    # A fragment of another file, as the live page's state, is that file's own affair.
    return bool(name) and page in seen and unquote(name) not in seen[page].ids

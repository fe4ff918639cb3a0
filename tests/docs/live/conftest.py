"""Node and a browser: an error where CI asked for them, else a skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import framework, missing
from tests.docs.live.node import Node

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# As root in a container there is no sandbox; the others keep it from asking for anything.
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def program() -> str:
    """The path of Node."""
    found = shutil.which("node")
    if found is None:
        missing("node")
        raise AssertionError
    return found


@pytest.fixture(scope="module")
def node(program: str) -> Iterator[Node]:
    """The page's scripts in Node."""
    made = Node(program)
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless browser."""
    playwright = framework("playwright.sync_api")
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        missing("a browser: chromium or google-chrome")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=found, args=list(_FLAGS))
        yield launched
        launched.close()

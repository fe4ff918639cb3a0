"""Node and a browser: an error where CI asked for them, else a skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import missing
from tests.docs.browser import chromium
from tests.docs.live.node import Node

if TYPE_CHECKING:
    from playwright.sync_api import Browser


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
    with chromium() as started:
        yield started

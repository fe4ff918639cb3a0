"""An option that breaks the body on purpose."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broken", action="store_true", help="let the body fail")

"""Fixtures of these tests."""

from __future__ import annotations

from tests.localize.conftest import one_thread as one_thread

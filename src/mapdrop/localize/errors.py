"""Errors that the localizer's commands report without a traceback."""

from __future__ import annotations


class LocalizeError(Exception):
    """Raised for an input that can't be used. The message names the input and the remedy."""

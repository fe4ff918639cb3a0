"""What the localizer's commands tell instead of a traceback."""

from __future__ import annotations


class LocalizeError(Exception):
    """Something of the user's can't be used as it is. The message names it and the remedy."""

"""Say in a phrase what a reader left out and why; see `Dataset.left_out`."""

from __future__ import annotations

from collections.abc import Mapping

from mapdrop.system.printable import count


def phrases(counts: Mapping[str, int], noun: str) -> tuple[str, ...]:
    """Return "3 annotations of crowds" for {"of crowds": 3} and "annotation"; none for 0."""
    return tuple(f"{count(number, noun)} {why}" for why, number in counts.items() if number)

"""Say in a phrase what a reader left out and why; see `Dataset.left_out`."""

from __future__ import annotations

from collections.abc import Mapping


def phrases(counts: Mapping[str, int], noun: str) -> tuple[str, ...]:
    """Return "3 annotations of crowds" for {"of crowds": 3} and "annotation"; none for 0."""
    return tuple(
        f"{count} {noun}{'s' * (count != 1)} {why}" for why, count in counts.items() if count
    )

"""The frames of a clip that can't be read, told in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mapdrop.localize.data.base import DataError

SHOWN = 10
"""Runs of numbers in a message."""


@dataclass
class LostFrames:
    """Collects the numbers of the frames that can't be read.

    Attributes:
        path: the clip's file.
        why: the reason for the first one, with the remedy.
        runs: the numbers, in order.
    """

    path: Path
    why: str = ""
    runs: list[range] = field(default_factory=list)

    def add(self, start: int, stop: int, why: str) -> None:
        """Add the frames from `start` up to, but without, `stop`."""
        if stop <= start:
            return
        self.why = self.why or why
        if self.runs and self.runs[-1].stop == start:
            start = self.runs.pop().start
        self.runs.append(range(start, stop))

    def check(self) -> None:
        """Raise DataError if there are any."""
        if self.runs:
            count = sum(run.stop - run.start for run in self.runs)
            shown = ", ".join(map(_text, self.runs[:SHOWN]))
            more = f" and {len(self.runs) - SHOWN} more" if len(self.runs) > SHOWN else ""
            which = f"frame {shown}" if count == 1 else f"{count} frames, {shown}{more},"
            raise DataError(f"{self.path}: {which} can't be read: {self.why}")


def _text(run: range) -> str:
    return str(run.start) if run.stop - run.start == 1 else f"{run.start}-{run.stop - 1}"

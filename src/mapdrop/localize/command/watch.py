"""How far a training is, on the terminal: a bar with the time left, and a line for each stage."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Watch:
    """Shows a run's progress while it is entered.

    Attributes:
        total: steps of the whole run; 0 while pictures are read.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.total = console, 0
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
            transient=True,
            speed_estimate_period=60,  # Stages differ in what a step costs.
        )
        self.task = self.progress.add_task("reading the labels", total=1)
        self.seen = ""

    def __enter__(self) -> Watch:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def picture(self, what: str, done: int, of: int) -> None:
        """Told as pictures are read."""
        self.progress.update(self.task, description=what, completed=done, total=of)

    def step(self, stage: str, step: int, row: dict[str, Any] | None) -> None:
        """Told after every step of the run, with the row of a validation if there was one."""
        if not self.seen:
            self.progress.reset(self.task)
            self.progress.update(self.task, description=stage)
        self.progress.update(self.task, completed=step, total=self.total)
        if row is None:
            self.seen = self.seen or stage
            return
        self.seen = (
            f"{stage}: loss {row['loss']:.3f}, validation median {row['median_error']:.1f} px"
        )
        self.progress.update(self.task, description=self.seen)
        if row["best"]:
            self.console.print(f"step {step}, {self.seen}", highlight=False)

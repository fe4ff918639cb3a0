"""Show a training's progress: a bar with the time left, and a line for each better validation."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class TrainingProgress:
    """A context manager that shows a run's progress.

    Attributes:
        total: steps of the run; 0 while images are read.
    """

    console: Console
    total: int

    def __init__(self, console: Console) -> None:
        self.console, self.total = console, 0
        self.progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
            transient=True,
            speed_estimate_period=60,  # Stages differ in the cost of a step.
        )
        self.task: TaskID = self.progress.add_task("reading the labels", total=1)
        self.description: str = ""

    def __enter__(self) -> TrainingProgress:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def on_image(self, task: str, done: int, total: int) -> None:
        """Show how many images have been read; a `ProgressCallback`."""
        self.progress.update(self.task, description=task, completed=done, total=total)

    def on_step(self, stage: str, step: int, entry: dict[str, Any] | None) -> None:
        """Show a step, with the log's entry if the step was validated."""
        if not self.description:
            self.progress.reset(self.task)
            self.progress.update(self.task, description=stage)
        self.progress.update(self.task, completed=step, total=self.total)
        if entry is None:
            self.description = self.description or stage
            return
        self.description = (
            f"{stage}: loss {entry['loss']:.3f}, validation median {entry['median_error']:.1f} px"
        )
        self.progress.update(self.task, description=self.description)
        if entry["best"]:
            self.console.print(f"step {step}, {self.description}", highlight=False)

"""Time frameworks one after the other, with progress on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mapdrop.tools.bench.measure import Row
from mapdrop.tools.installed import Installed, Missing, find
from mapdrop.tools.subprocesses import EndedError, messages

QUICK_SECONDS, SECONDS = 1.5, 3.0
"""For a case, without --full and with it."""


@dataclass
class Outcome:
    """The rows, the cases that failed, and the frameworks that are not installed."""

    rows: list[Row] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


def perform(
    names: Sequence[str],
    quick: bool = True,
    word: str = "",
    seconds: float | None = None,
    keep: Callable[[Row], None] = lambda _: None,
) -> Outcome:
    """Time the frameworks of these names, and call `keep` with each row as it is made."""
    seconds = (QUICK_SECONDS if quick else SECONDS) if seconds is None else seconds
    outcome = Outcome()
    with _progress() as (doing, more):
        for framework in find(names):
            if isinstance(framework, Missing):
                outcome.missing.append(framework)
                continue
            try:
                for row in _rows(framework, (quick, word, seconds), doing, more, outcome.failed):
                    outcome.rows.append(row)
                    keep(row)
            except EndedError as problem:
                outcome.failed.append(f"{framework.title}: {problem}")
    return outcome


def _rows(
    framework: Installed,
    options: tuple[bool, str, float],
    doing: Callable[[str, int], None],
    more: Callable[[int], None],
    failed: list[str],
) -> Iterator[Row]:
    for message in messages(framework, "mapdrop.tools.bench.worker", framework.name, *options):
        if "row" in message:
            doing(framework.title, 1)
            yield {"framework": framework.title, **message["row"]}
        elif "failed" in message:
            doing(framework.title, 1)
            failed.append(f"{framework.title}: {message['failed']}")
        elif "cases" in message:
            more(message["cases"])
        else:
            doing(f"{framework.title}: {message['doing']}", 0)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str, int], None], Callable[[int], None]]]:
    """Show what is being done, and how many cases there are: known when a framework is imported."""
    console = Console(stderr=True, highlight=False)
    columns = (
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=0)
        total = 0

        def more(cases: int) -> None:
            nonlocal total
            total += cases
            progress.update(task, total=total)

        def doing(text: str, done: int) -> None:
            progress.update(task, description=text, advance=done)

        yield doing, more

"""Print what the commands of the localizer found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapdrop.system.printable import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show(console: Console, table: Table) -> None:
    """Print a table with whole cells, even where that is wider than the terminal."""
    wide = console.options.update(max_width=1 << 16)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)


def say(console: Console, text: str) -> None:
    """Print lines as they are, however long."""
    console.print(plain(text), soft_wrap=True)


def say_left_out(console: Console, left_out: tuple[str, ...]) -> None:
    """Print what was left out of the data, if anything was."""
    if left_out:
        say(console, f"left out: {'; '.join(left_out)}")

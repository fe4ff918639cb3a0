"""Problems told in a sentence: what was expected, what came, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from mapdrop.localize.errors import LocalizeError
from mapdrop.system.printable import plain, printable_lines, stop

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@contextmanager
def told() -> Iterator[None]:
    """End the command with a message where a user's file, folder or installation is at fault."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mapdrop"):
            raise
        stop(f'{error.name} is not installed: pip install "mapdrop[study]"')
    except typer.BadParameter as error:
        error.message = printable_lines(error.message)
        raise
    except (LocalizeError, OSError) as error:
        stop(error)


def show(console: Console, table: Table) -> None:
    """Print a table with whole cells, even where that is wider than the terminal."""
    wide = console.options.update(max_width=1 << 16)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)


def say(console: Console, text: str) -> None:
    """Print lines as they are, however long."""
    console.print(plain(text), soft_wrap=True)

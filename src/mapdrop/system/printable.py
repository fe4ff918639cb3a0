"""Show text from outside: names of files, joints and data, cells of tables, messages of others.

A terminal obeys what it is sent, rich reads `[...]` as markup and matplotlib reads `$...$` as
mathematics. Whatever a user's file can hold goes through here before it is shown.
"""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.text import Text


def printable(text: object) -> str:
    r"""Return one line of text in which nothing can command a terminal.

    What `str.isprintable` refuses is written as `repr` writes it: control characters (C0 and C1, so
    every escape sequence and line break), bidirectional and other invisible marks, and the lone
    surrogates of file names that are not UTF-8. To apply it twice changes nothing more.

    >>> mapdrop.system.printable.printable("left\x1b[2Jear")
    'left\\x1b[2Jear'
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def printable_lines(text: object) -> str:
    r"""Return `printable` text that keeps its line breaks: a message of several lines.

    >>> mapdrop.system.printable.printable_lines("2 problems:\na.png\x07")
    '2 problems:\na.png\\x07'
    """
    return "\n".join(printable(line) for line in str(text).split("\n"))


def plain(text: object) -> Text:
    """Return `printable_lines` for rich, which then reads no markup in it.

    It fits wherever rich takes a string: cells, titles, `print`, `status`.

    >>> mapdrop.system.printable.plain("mouse[/]").plain
    'mouse[/]'
    """
    from rich.text import Text

    return Text(printable_lines(text))


def drawable(text: object) -> str:
    r"""Return `printable` text for matplotlib, which then reads no mathematics in it.

    Of a name that begins with an underscore matplotlib keeps the line out of its legends.

    >>> mapdrop.system.printable.drawable("$x_0$"), mapdrop.system.printable.drawable("_nose")
    ('\\$x_0\\$', ' _nose')
    """
    label = printable(text).replace("$", r"\$")
    return f" {label}" if label.startswith("_") else label


def short_path(path: object) -> str:
    """Return the last two parts of a path, `printable`: which file it is, not where a user has it.

    >>> mapdrop.system.printable.short_path("/home/ann/day1/frames/0001.png")
    'frames/0001.png'
    """
    return printable("/".join(PurePath(str(path)).parts[-2:]))


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> mapdrop.system.printable.count(1, "image"), mapdrop.system.printable.count(3, "image")
    ('1 image', '3 images')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def stop(message: object, code: int = 1) -> NoReturn:
    """Print an error, in red unless NO_COLOR is set, and end the command.

    Raises:
        typer.Exit: always, with `code`.
    """
    import typer

    color = False if os.environ.get("NO_COLOR") else None
    typer.secho(f"error: {printable_lines(message)}", err=True, fg="red", color=color)
    raise typer.Exit(code)

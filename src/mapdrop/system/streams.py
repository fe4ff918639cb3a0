"""Write to standard output and error, wherever they lead: a full disk, a closed pipe."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mapdrop.system.printable import printable_lines

_PLAIN = {
    "≤": "<=",
    "×": "x",
    "±": "+-",
    "µ": "u",
    "·": ".",
    "…": "...",
    "╎": "|",
    "–": "-",
    "─": "-",
    "│": "|",
    "╱": "/",
    "╲": "\\",
    **dict.fromkeys("█▉▊▋▌▍▎▏▀", "#"),
}


def any_code_page() -> None:
    """Let standard output and error write in ASCII what their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="mapdrop.plain")


@contextmanager
def ending() -> Iterator[None]:
    """End the process with a message and exit code 1 where the system denies it something.

    Nothing is printed for a reader that has left, as `head -1` does.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (OSError, MemoryError) as error:
        with suppress(OSError):
            if getattr(error, "errno", None) != errno.EPIPE:
                print(f"error: {printable_lines(str(error) or 'out of memory')}", file=sys.stderr)
        # What is still to be written cannot be, and Python would try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from error


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Replace the signs that an encoding lacks by like ones, and write out the others."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, ascii(sign)[1:-1]) for sign in lacking), error.end


codecs.register_error("mapdrop.plain", _plainer)

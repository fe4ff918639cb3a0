"""Files that somebody else may have put where one of ours is expected."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a regular file for reading; pipes, sockets and devices may have no end.

    Raises OSError where there is nothing to open, and ValueError where it is no regular file.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{os.fspath(path)} is no regular file")
        yield file


def _without_waiting(path: str, flags: int) -> int:
    """Open a pipe although nobody writes to it; its kind can only be asked of an open file."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # Windows has none.

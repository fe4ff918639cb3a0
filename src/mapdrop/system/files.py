"""Open and write files with care: a folder that comes from a stranger may hold anything."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# Of a FIFO that nobody writes to, a plain `open` would wait for ever.
_READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class IrregularFileError(OSError, ValueError):
    """Something that has no end where a file was expected; the text names it."""


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read bytes, and nothing else: no FIFO, device or folder.

    Raises:
        IrregularFileError: for anything else of that name.
        OSError: when there is none.
    """
    descriptor = os.open(path, _READING)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IrregularFileError(f"{os.fspath(path)} is not a regular file")
    return os.fdopen(descriptor, "rb")


def content(path: Path, most: int | None = None) -> bytes:
    """Return what a regular file holds.

    Args:
        most: bytes that it may have; None is any number.

    Raises:
        OSError: when there is no such file, or it is larger.
    """
    with opened(path) as file:
        found = file.read() if most is None else file.read(most + 1)
    if most is not None and len(found) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
    return found


def write_all(file: BinaryIO, content: bytes) -> None:
    """Write every byte, where an unbuffered file may take only a part at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


@contextmanager
def replacing(path: str | os.PathLike[str], *, unique: bool = False) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when the block ends without an exception.

    Until then, and when the process is killed meanwhile, what was there stays. A link of that name
    is replaced, not followed.

    Args:
        path: the file to write.
        unique: whether several processes may write the file at the same time. Otherwise the
            unfinished file has one name, so that what a killed process left is overwritten.

    Raises:
        OSError: when it can't be written; nothing of it is left then.
    """
    folder, name = os.path.split(os.fspath(path))
    own = f"{os.urandom(4).hex()}." if unique else ""
    unfinished = os.path.join(folder, f".{name}.{own}part")
    try:
        # Were the unfinished file a link, what it points to stays as it is.
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
        with open(unfinished, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise


def write(path: Path, content: bytes) -> None:
    """Write a file and the folders that it needs, by `replacing`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)

"""The raw results: one JSON object a line, each on disk before it counts as done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

Row = dict[str, Any]
NAME = "rows.jsonl"


class OutputExistsError(Exception):
    """The output folder can't be used for this study."""


def fresh_folder(parent: Path, name: str) -> Path:
    """The first of name-1, name-2, ... below `parent` that isn't there yet; it isn't made."""
    number = 1
    while (folder := parent / f"{name}-{number}").exists():
        number += 1
    return folder


class RowFile:
    """The rows of a study in `folder`, which is made if need be; nobody else may write meanwhile.

    A row that a kill cut in the middle is taken away when the file is opened again: whatever it
    was about has not been done.

    Attributes:
        path: the file.
        rows: all of them, in order.

    Raises:
        OutputExistsError: when another process has it, or a line that isn't the last is damaged.
        OSError: when the folder can't be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / NAME
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OutputExistsError(
                f"another process is running the study in {folder}; wait for it, or choose another "
                "--out"
            ) from None
        try:
            self.path.touch()
            whole = _whole(self.path)
            os.truncate(self.path, len(whole))
            self.rows = _parsed(self.path, whole)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def append(self, row: Row) -> None:
        """Adds a row and waits until it is on disk."""
        line = json.dumps(row, allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)


def read_rows(path: Path) -> list[Row]:
    """The rows of a finished, running or interrupted study.

    Raises:
        OutputExistsError: when a line that isn't the last is damaged.
    """
    return _parsed(path, _whole(path))


def _whole(path: Path) -> bytes:
    """The file up to the end of its last whole line."""
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def _parsed(path: Path, content: bytes) -> list[Row]:
    rows = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise OutputExistsError(
                f"{path}, line {number} is no row of a study: {error}; restore it, or take it out"
            ) from error
    return rows

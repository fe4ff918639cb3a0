"""Store raw results as JSON lines, each on disk before it counts as done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from mapdrop.localize.errors import LocalizeError
from mapdrop.study.row_schema import check_row, check_rows
from mapdrop.system.files import opened, write
from mapdrop.system.printable import printable

Row = dict[str, Any]
NAME = "rows.jsonl"
OUTPUTS = ("report.txt", "report.html", "study.png", "examples")
"""The other outputs of a study in its folder."""


class OutputExistsError(LocalizeError):
    """Raised when the output folder can't be used for this study."""


class RowFile:
    """The rows of a study in `folder`, locked for writing. The folder is created if needed.

    A row that an interruption cut short is removed when the file is opened again; its work has not
    been done. A folder with other files is left unchanged.

    Attributes:
        path: the file.
        rows: all rows, in order.

    Raises:
        OutputExistsError: when another process has locked the folder, the file isn't a study's, or
            a line before the last one is damaged.
        OSError: when the folder can't be written.
    """

    rows: list[Row]

    def __init__(self, folder: Path) -> None:
        self.path: Path = folder / NAME
        _refuse_foreign(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OutputExistsError(
                f"another process is running the study in {folder}; wait for it, or choose another "
                "--out"
            ) from None
        try:
            content = _read(self.path) if self.path.exists() else b""
            self.rows, end = _parse(self.path, content) if content else ([], 0)
            if end < len(content):
                os.truncate(self.path, end)
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
        """Add a row, and return when it is on disk. Raise ValueError for an invalid row."""
        check_row(row)
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        if not self.rows:
            write(self.path, line)  # Atomically, because the first row identifies a study.
        else:
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        self.rows.append(row)


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a finished, running or interrupted study.

    Raises:
        OutputExistsError: when the file isn't a study's, or a line before the last is damaged.
        OSError: when there is no such file.
    """
    return _parse(path, _read(path))[0]


def _refuse_foreign(folder: Path) -> None:
    """Raise OutputExistsError if a new study would overwrite existing files."""
    if (folder / NAME).exists():
        return
    for name in OUTPUTS:
        if (folder / name).exists():
            raise OutputExistsError(
                f"{folder / name} exists, but is not a study's: there is no {NAME} beside it; "
                "move it, or choose another --out"
            )


def _read(path: Path) -> bytes:
    try:
        with opened(path) as file:
            return file.read()
    except ValueError as error:
        raise OutputExistsError(f"{error}; choose another --out") from error


def _parse(path: Path, content: bytes) -> tuple[list[Row], int]:
    """Return the rows of all complete lines, and the end of the last one."""
    end = 1 + max(content.rfind(newline) for newline in (b"\n", b"\r"))
    if not end:
        raise OutputExistsError(
            f"{path} is not a study's: it has no complete line; move it, or choose another --out"
        )
    rows: list[Row] = []
    for number, line in enumerate(content[:end].splitlines(), start=1):
        try:
            row = json.loads(line)
            check_row(row)
        except (ValueError, RecursionError) as error:
            raise OutputExistsError(
                f"{path}, line {number} is not a row of a study: {printable(error)}; restore it, "
                f"or {'delete the line' if rows else 'choose another --out'}"
            ) from error
        rows.append(row)
    try:
        check_rows(rows)
    except ValueError as error:
        raise OutputExistsError(
            f"{path} is not a study's: {error}; restore it, or choose another --out"
        ) from error
    return rows, end

"""The raw results: one JSON object a line, each on disk before it counts as done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from mapdrop.localize.errors import LocalizeError
from mapdrop.study.fields import check_row, check_rows
from mapdrop.system.files import opened, write
from mapdrop.system.printable import printable

Row = dict[str, Any]
NAME = "rows.jsonl"
OUTPUTS = ("report.txt", "report.html", "study.png", "examples")
"""What else a study leaves in its folder."""


class OutputExistsError(LocalizeError):
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
    was about has not been done. Nothing is changed in a folder with files of another origin.

    Attributes:
        path: the file.
        rows: all of them, in order.

    Raises:
        OutputExistsError: when another process has it, when it is no study's, or when a line that
            isn't the last is damaged.
        OSError: when the folder can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
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
            content = _content(self.path) if self.path.exists() else b""
            self.rows, whole = _parsed(self.path, content) if content else ([], 0)
            if whole < len(content):
                os.truncate(self.path, whole)
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
        """Add a row and wait until it is on disk. Raises ValueError for no row of a study."""
        check_row(row)
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        if not self.rows:
            write(self.path, line)  # Whole or not at all: it is what tells a study from others.
        else:
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        self.rows.append(row)


def read_rows(path: Path) -> list[Row]:
    """The rows of a finished, running or interrupted study.

    Raises:
        OutputExistsError: when they are no study's, or a line that isn't the last is damaged.
        OSError: when there is no such file.
    """
    return _parsed(path, _content(path))[0]


def _refuse_foreign(folder: Path) -> None:
    """Raise OutputExistsError where a new study would write over what is there."""
    if (folder / NAME).exists():
        return
    for name in OUTPUTS:
        if (folder / name).exists():
            raise OutputExistsError(
                f"{folder / name} is there already, and no study's: there is no {NAME} beside it; "
                "move it, or choose another --out"
            )


def _content(path: Path) -> bytes:
    try:
        with opened(path) as file:
            return file.read()
    except ValueError as error:
        raise OutputExistsError(f"{error}; choose another --out") from error


def _parsed(path: Path, content: bytes) -> tuple[list[Row], int]:
    """The rows of the whole lines, and where the last of these ends."""
    whole = 1 + max(content.rfind(end) for end in (b"\n", b"\r"))
    if not whole:
        raise OutputExistsError(
            f"{path} is no study's: it has no whole line; move it, or choose another --out"
        )
    rows: list[Row] = []
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            row = json.loads(line)
            check_row(row)
        except (ValueError, RecursionError) as error:
            raise OutputExistsError(
                f"{path}, line {number} is no row of a study: {printable(error)}; restore it, or "
                f"{'take it out' if rows else 'choose another --out'}"
            ) from error
        rows.append(row)
    try:
        check_rows(rows)
    except ValueError as error:
        raise OutputExistsError(
            f"{path} is no study's: {error}; restore it, or choose another --out"
        ) from error
    return rows, whole

"""The raw results: one JSON object a line, each on disk before the next run starts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Row = dict[str, Any]
NAME = "rows.jsonl"


class OutputExistsError(Exception):
    """The output folder already holds a study."""


def fresh_folder(parent: Path, name: str) -> Path:
    """The first of name-1, name-2, ... below `parent` that isn't there yet; it isn't made."""
    number = 1
    while (folder := parent / f"{name}-{number}").exists():
        number += 1
    return folder


class RowFile:
    """A new file of rows in `folder`, which is made if need be.

    Raises:
        OutputExistsError: when there is one, which is left alone.
        OSError: when the folder can't be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / NAME
        self.rows: list[Row] = []
        try:
            self.path.touch(exist_ok=False)
        except FileExistsError:
            raise OutputExistsError(
                f"{self.path} holds an earlier study; choose another --out, or move it away"
            ) from None

    def append(self, row: Row) -> None:
        """Adds a row and waits until it is on disk."""
        line = json.dumps(row, allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)


def read_rows(path: Path) -> list[Row]:
    """The rows of a finished or interrupted study."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]

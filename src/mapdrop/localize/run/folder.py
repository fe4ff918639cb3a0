"""The folder of a run, and its files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapdrop.localize.errors import LocalizeError
from mapdrop.system.files import content, write


class RunError(LocalizeError):
    """Raised when a run can't be started, resumed or used. The message gives the remedy."""


@dataclass(frozen=True)
class Folder:
    """The folder that holds all files of a run.

    Attributes:
        path: the folder; it is created with its first file.
    """

    path: Path

    @property
    def record(self) -> Path:
        """Return the path of the run's record, which is written before the first step."""
        return self.path / "run.json"

    @property
    def last(self) -> Path:
        """Return the path of the last checkpoint, from which a run resumes."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """Return the path of the weights that did best on the validation images."""
        return self.path / "best.safetensors"

    @property
    def log(self) -> Path:
        """Return the path of the log, a line of JSON for each validation."""
        return self.path / "log.jsonl"

    @property
    def curves(self) -> Path:
        """Return the path of the log's plot."""
        return self.path / "curves.png"

    def check_free(self) -> None:
        """Check that a new run would not replace any file.

        Raises:
            RunError: when it would.
        """
        files = (self.record, self.last, self.best, self.log, self.curves)
        existing = ", ".join(path.name for path in files if os.path.lexists(path))
        if existing:
            raise RunError(
                f"{self.path} holds no run, but a new one would replace its {existing}; choose "
                "another --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other training processes; a killed one leaves no lock.

        Raises:
            RunError: when another process holds the lock.
        """
        from filelock import FileLock, Timeout

        path = self.path / ".lock"
        if path.is_symlink():
            raise RunError(f"{path} is a link; remove it")
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(path).acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"another process is training in {self.path}; wait for it, or choose another --out"
            ) from None
        with lock:
            try:
                yield
            finally:
                if [child.name for child in self.path.iterdir()] == [path.name]:
                    path.unlink()
                    self.path.rmdir()

    def read_record(self) -> dict[str, Any]:
        """Read what `write_record` wrote.

        Raises:
            RunError: when the record is missing or damaged, or has another format.
        """
        try:
            record = json.loads(content(self.record, MAX_RECORD_BYTES).decode())
        except FileNotFoundError:
            raise RunError(
                f"{self.path} holds no run: there is no {self.record.name}; "
                "train one with: mapdrop localize train DATA --out RUN"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.record} can't be read: {error}") from error
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise RunError(
                f"{self.record} is not of format {FORMAT}, which this version of mapdrop reads"
            )
        return record

    def write_record(self, record: dict[str, Any]) -> None:
        """Write the record, which identifies the folder as a run."""
        text = json.dumps({"format": FORMAT, **record}, indent=1, allow_nan=False)
        write(self.record, text.encode())


FORMAT = 1
"""Version of run.json and the checkpoints; others are rejected."""

MAX_RECORD_BYTES = 1 << 28
"""Largest record that is read: far more than the digests of a million images take."""


def new_folder(parent: Path, name: str) -> Path:
    """Return the first of name-1, name-2, ... in `parent` that doesn't exist; don't create it."""
    number = 1
    while (folder := parent / f"{name}-{number}").exists():
        number += 1
    return folder

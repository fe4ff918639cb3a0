"""The folder of a run: which files it has, and how they are written."""

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
    """A run can't be started, resumed or used as it is. The message says what to do."""


@dataclass(frozen=True)
class Folder:
    """Where everything of a run is.

    Attributes:
        path: the folder; it is made when the first file is written.
    """

    path: Path

    @property
    def record(self) -> Path:
        """What the run was asked for and found: written once, before the first step."""
        return self.path / "run.json"

    @property
    def last(self) -> Path:
        """Where a killed run goes on."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights that did best on the validation images, for use."""
        return self.path / "best.safetensors"

    @property
    def log(self) -> Path:
        """A JSON object a line for each validation."""
        return self.path / "log.jsonl"

    @property
    def curves(self) -> Path:
        """The log as a picture."""
        return self.path / "curves.png"

    def check_free(self) -> None:
        """Check that a new run replaces nothing.

        Raises:
            RunError: when it would.
        """
        files = (self.record, self.last, self.best, self.log, self.curves)
        there = ", ".join(path.name for path in files if os.path.lexists(path))
        if there:
            raise RunError(
                f"{self.path} holds no run, but a new one would replace its {there}; choose "
                "another --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the folder. Of one that was killed no lock is left.

        Raises:
            RunError: when another has it.
        """
        from filelock import FileLock, Timeout

        path = self.path / ".lock"
        if path.is_symlink():
            raise RunError(f"{path} is a link; take it away")
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(path).acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"another process trains in {self.path}; wait for it, or choose another --out"
            ) from None
        with lock:
            try:
                yield
            finally:
                if [child.name for child in self.path.iterdir()] == [path.name]:
                    path.unlink()
                    self.path.rmdir()

    def read_record(self) -> dict[str, Any]:
        """What `write_record` wrote.

        Raises:
            RunError: when there is none, or it isn't what this version writes.
        """
        try:
            record = json.loads(content(self.record, MOST).decode())
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
        """Written once, so that a run is known from its first step on."""
        text = json.dumps({"format": FORMAT, **record}, indent=1, allow_nan=False)
        write(self.record, text.encode())


FORMAT = 1
"""Of run.json and the checkpoints; another number is refused."""

MOST = 1 << 28
"""Bytes of a record that is read: far more than the digests of a million pictures take."""

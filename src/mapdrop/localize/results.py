"""Where results go: files that nothing else has the name of, in a folder that the user named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mapdrop.localize.run.folder import RunError
from mapdrop.system.files import write

SHOWN = 5
"""Names in a message."""


@dataclass(frozen=True)
class Results:
    """A folder for results.

    Attributes:
        folder: where they go.
        within: what the user named, the folder or the run that has it. Links that lead out of it
            are not followed: the user doesn't know of them.
        overwrite: whether files of the results' names may be replaced.
    """

    folder: Path
    within: Path
    overwrite: bool = False

    @classmethod
    def of(cls, run: Path, name: str, out: Path | None, overwrite: bool) -> Results:
        """Return the folder `out`, or, if that is None, the run's own of that name."""
        return cls(out or run / name, out or run, overwrite)

    def claim(self, names: Sequence[str], inputs: Iterable[Path] = ()) -> None:
        """Check that results of these names can be written, and that nothing is lost by it.

        Args:
            names: paths below the folder, with `/`.
            inputs: files that the results are made from.

        Raises:
            RunError: when two results have one name, one is there already, or a link leads out.
        """
        self._check_different(names)
        self._check_inside(names)
        taken = {os.path.realpath(path) for path in inputs}
        paths = [self.folder / name for name in names]
        _refuse([path for path in paths if os.path.realpath(path) in taken], "are the inputs")
        if not self.overwrite:
            there = [path for path in paths if os.path.lexists(path)]
            _refuse(there, "exist already", ", or pass --overwrite to replace them")

    def created(self, name: str) -> BinaryIO:
        """Open a new file of the results, unbuffered.

        Raises:
            OSError: when it is there, as by another command at the same time, and `overwrite` is
                not asked for; or the folder can't be written.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.overwrite:
            path.unlink(missing_ok=True)
        return path.open("xb", buffering=0)

    def write(self, name: str, content: bytes) -> Path:
        """Write one of the results, whole or not at all, and return its path."""
        write(self.folder / name, content)
        return self.folder / name

    def _check_different(self, names: Sequence[str]) -> None:
        known: set[str] = set()
        for name in names:
            if name in known:
                raise RunError(f"two results would be called {name}; rename one of the inputs")
            known.add(name)
        for name in names:
            for parent in PurePosixPath(name).parents:
                if str(parent) in known:
                    raise RunError(
                        f"{parent} would be a result and the folder of {name}; rename the folder "
                        "of the input"
                    )

    def _check_inside(self, names: Iterable[str]) -> None:
        root = os.path.realpath(self.within)
        for parent in dict.fromkeys((self.folder / name).parent for name in names):
            real = os.path.realpath(parent)
            if not Path(real).is_relative_to(root):
                raise RunError(
                    f"{parent} is a link that leads out of {self.within}, to {real}; take it away, "
                    "or say where the results shall be by --out"
                )


def _refuse(paths: Sequence[Path], what: str, remedy: str = "") -> None:
    if paths:
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        shown = ", ".join(str(path) for path in paths[:SHOWN])
        raise RunError(
            f"the results would replace files that {what}: {shown}{more}; choose another "
            f"--out{remedy}"
        )

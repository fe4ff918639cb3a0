"""Write result files without overwriting anything else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mapdrop.localize.run.folder import RunError
from mapdrop.system.files import write

SHOWN = 5
"""Number of names in a message."""


@dataclass(frozen=True)
class ResultFolder:
    """A folder for results.

    Attributes:
        folder: where results are written.
        within: the folder that the user named, or the run that contains it. Links that lead out of
            it are not followed, as the user may not know of them.
        overwrite: whether existing results may be replaced.
    """

    folder: Path
    within: Path
    overwrite: bool = False

    @classmethod
    def of(cls, run: Path, name: str, out: Path | None, overwrite: bool) -> ResultFolder:
        """Return the folder `out`, or if that is None, the folder `name` of the run."""
        return cls(out or run / name, out or run, overwrite)

    def check_names(self, names: Sequence[str], inputs: Iterable[Path] = ()) -> None:
        """Check that results of these names can be written without losing anything.

        Args:
            names: paths relative to the folder, with `/`.
            inputs: files that the results are computed from.

        Raises:
            RunError: when two results have the same name, one exists, or a link leads outside.
        """
        self._check_different(names)
        self._check_inside(names)
        input_paths = {os.path.realpath(path) for path in inputs}
        paths = [self.folder / name for name in names]
        _refuse([path for path in paths if os.path.realpath(path) in input_paths], "are the inputs")
        if not self.overwrite:
            existing = [path for path in paths if os.path.lexists(path)]
            _refuse(existing, "exist already", ", or pass --overwrite to replace them")

    def create(self, name: str) -> BinaryIO:
        """Create a result file and open it, unbuffered.

        Raises:
            OSError: when the folder can't be written, or the file exists and `overwrite` is false;
                another command may have created it since the check.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.overwrite:
            path.unlink(missing_ok=True)
        return path.open("xb", buffering=0)

    def write(self, name: str, content: bytes) -> Path:
        """Write one of the results atomically, and return its path."""
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
                    f"{parent} is a link that leads out of {self.within}, to {real}; remove it, "
                    "or choose another --out"
                )


def _refuse(paths: Sequence[Path], what: str, remedy: str = "") -> None:
    if paths:
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        shown = ", ".join(str(path) for path in paths[:SHOWN])
        raise RunError(
            f"the results would replace files that {what}: {shown}{more}; choose another "
            f"--out{remedy}"
        )

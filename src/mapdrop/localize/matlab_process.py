"""Run SciPy's reader of MATLAB files, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mapdrop.localize import reader_process
from mapdrop.localize.reader_process import UnreadableError


class VersionError(UnreadableError):
    """Raised for a file of version 7.3, which is HDF5."""


def names(path: Path) -> tuple[str, ...]:
    """Return the names of a file's variables.

    Raises:
        UnreadableError: when it is damaged.
    """
    with _versions():
        return reader_process.call(_names, path)


def load(path: Path, variable: str) -> Any:
    """Return one variable: a struct as a dict, a struct array as a list of them.

    Raises:
        UnreadableError: when the file is damaged.
    """
    with _versions():
        return reader_process.call(_load, path, variable)


@contextmanager
def _versions() -> Iterator[None]:
    try:
        yield
    except UnreadableError as error:
        if error.kind == NotImplementedError.__name__:
            raise VersionError(str(error)) from error
        raise


def _names(path: Path) -> tuple[str, ...]:
    from scipy.io import whosmat

    return tuple(name for name, _, _ in whosmat(path))


def _load(path: Path, variable: str) -> Any:
    from scipy.io import loadmat

    return loadmat(path, variable_names=[variable], simplify_cells=True)[variable]

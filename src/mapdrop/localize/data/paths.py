"""Resolve the paths that label files name, inside the data folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mapdrop.localize.data.base import DataError


def resolve_inside(root: Path, path: Path, where: str) -> Path:
    """Return `path` with its links resolved.

    Raises:
        DataError: when the result is outside `root`, or the path is invalid; `where` says where the
            path was named.
    """
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # Long names, loops of links, zero bytes.
        raise DataError(
            f"{where}: {str(path)!r:.200} is not a path: {error}; correct it"
        ) from error
    if not real.is_relative_to(root.resolve()):
        raise DataError(f"{where}: {path} lies outside the data folder {root}; move it there")
    return real


def find(root: Path, name: str, folders: Sequence[str], where: str) -> Path:
    """Return the path of the image `name` in the first of the `folders` of `root` that has it.

    If none has it, return its path in the first folder that exists, for the error message.

    Raises:
        DataError: when the name leads out of `root`.
    """
    name = name.replace("\\", "/")
    if not name.strip():
        raise DataError(f"{where}: the image's name is empty; fill it in, or delete the label")
    paths = [resolve_inside(root, root / folder / name, where) for folder in folders]
    found = (path for has in (exists, _has_folder) for path in paths if has(path))
    return next(found, paths[0])


def exists(path: Path) -> bool:
    """Return whether there is a file of this path; a path that no file can have is False."""
    return _is(Path.is_file, path)


def _has_folder(path: Path) -> bool:
    return _is(Path.is_dir, path.parent)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except OSError:  # A long name, or a folder without permission.
        return False

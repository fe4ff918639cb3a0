"""Resolve the paths that label files name, inside the data folder."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote

from mapdrop.localize.data.base import DataError

_OUTSIDE = re.compile(r"/|\.\.(/|$)|[a-zA-Z]:/")
"""How a path begins that leads out of the folder it is in."""
LONGEST = 4096
"""Letters of a path; systems allow no more."""
LONGEST = 4096
"""Letters of a path; systems allow no more."""


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


@dataclass(frozen=True)
class Finder:
    """Finds images by the names that the labels of one data set have for them.

    Attributes:
        root: the data folder.
        names: the name of each image found, and whether only an end of it was found.
    """

    root: Path
    names: dict[Path, tuple[str, bool]] = field(default_factory=dict)

    def __call__(self, name: str, folders: Sequence[str], where: str) -> Path:
        """Return the path of the image `name` in the first of the `folders` that has it.

        A file of exactly this name comes first. Otherwise the name may be a path of Windows or a
        URL, and its Unicode may be composed or decomposed. Of a path that begins outside the data
        folder, as another computer's does, the longest end that a folder has counts. If no folder
        has the image, return where it should be, for the error message.

        Raises:
            DataError: when the name leads out of the root to a file that is there, and no folder
                has an end of it; or when another name was taken for the same image: two videos
                `day1/cam0.mp4` and `day2/cam0.mp4` of another computer, of which one is here.
        """
        path, is_end = _found(self.root, name, folders, where)
        full = normalize("NFC", list(_readings(name))[-1])
        other, was_end = self.names.setdefault(path, (full, is_end))
        if other != full and (is_end or was_end):
            raise DataError(
                f"{where}: {name} and {other} are both taken for {path}; copy the other one, or "
                "keep the labels of one"
            )
        return path


def _found(root: Path, name: str, folders: Sequence[str], where: str) -> tuple[Path, bool]:
    """Return the path of an image, and whether only an end of its name was found."""
    if not name.strip():
        raise DataError(f"{where}: the image's name is empty; fill it in, or delete the label")
    if len(name) > LONGEST:
        raise DataError(
            f"{where}: the image's name has {len(name)} letters, which no file can have"
        )
    readings = list(dict.fromkeys(_readings(name)))
    ends = [(end, number > 0) for path in readings for number, end in enumerate(_ends(path))]
    for (end, is_end), look in product(ends, (_as_named, _in_other_unicode)):
        below = (posixpath.normpath(posixpath.join(folder, end)) for folder in folders)
        for inside in below:
            path = None if _OUTSIDE.match(inside) else look(root, inside)
            if path is not None:
                return resolve_inside(root, path, where), is_end
    if _is_foreign(root, readings[-1]):
        name = posixpath.normpath(readings[-1]).replace(":", "").lstrip("/")
    name = name.replace("\\", "/")
    paths = [resolve_inside(root, root / folder / name, where) for folder in folders]
    return next(filter(_has_folder, paths), paths[0]), False


def _is_foreign(root: Path, path: str) -> bool:
    """Return whether a path is absolute, and of another computer or lost."""
    return path[:1] != "." and _OUTSIDE.match(path) is not None and not exists(root / path)


def _readings(name: str) -> Iterator[str]:
    """Yield the paths that a name may stand for, the likeliest first."""
    yield name
    yield name.replace("\\", "/")
    yield unquote(_path_of_url(name)).replace("\\", "/")


def _path_of_url(name: str) -> str:
    """Return the path in a URL, such as /data/local-files/?d=a.png; other names stay."""
    _, is_local, path = name.partition("/local-files/?d=")  # A file that Label Studio shows.
    if is_local:
        return f"/{path}"
    _, is_url, address = name.partition("://")
    return "/" + address.partition("/")[2].partition("?")[0] if is_url else name


def _ends(path: str) -> list[str]:
    """Return the path itself and, if it begins outside the data folder, its ends."""
    path = posixpath.normpath(path)
    if not _OUTSIDE.match(path):
        return [path]
    parts = path.split("/")
    return [path] + ["/".join(parts[start:]) for start in range(1, len(parts))]


def _as_named(root: Path, path: str) -> Path | None:
    return root / path if exists(root / path) else None


def _in_other_unicode(root: Path, path: str) -> Path | None:
    """Return the file whose name has other bytes, as macOS writes names decomposed."""
    if path.isascii():
        return None
    found = root
    for part in path.split("/"):
        there = (found / name for name in (part, normalize("NFC", part), normalize("NFD", part)))
        found = next((each for each in there if _is(Path.exists, each)), found / part)
    return found if exists(found) else None


def is_hidden(path: Path) -> bool:
    """Return whether a file is hidden, as macOS's ._ twins in archives are."""
    return path.name.startswith(".")


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

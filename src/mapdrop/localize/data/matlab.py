"""Read MATLAB files as plain Python: a struct is a dict, a struct array a list of dicts."""

from __future__ import annotations

import math
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mapdrop.localize import matlab_process
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.matlab_checksums import verify_checksums
from mapdrop.localize.data.paths import resolve_inside
from mapdrop.localize.reader_process import UnreadableError

Struct = dict[str, Any]


def variables(path: Path) -> tuple[str, ...]:
    """Return the names of the variables in `path`.

    Raises:
        DataError: when it isn't a readable MATLAB file.
    """
    try:
        about = path.stat()
        return _variables(path, about.st_mtime_ns, about.st_size)
    except (UnreadableError, OSError, ValueError, zlib.error) as error:
        raise _unreadable(path, error) from error


@lru_cache
def _variables(path: Path, *_changed: int) -> tuple[str, ...]:
    """Return the names, cached because several formats look for their variable."""
    verify_checksums(path)
    return matlab_process.names(path)


def files(path: Path, variable: str) -> list[Path]:
    """Return the MATLAB files that hold `variable`: `path`, or files in it or one folder below."""
    candidates = sorted({*path.glob("*.mat"), *path.glob("*/*.mat")}) if path.is_dir() else [path]
    return [file for file in candidates if file.suffix.lower() == ".mat" and _has(file, variable)]


def find(path: Path, variable: str) -> tuple[Path, Path, list[str]]:
    """Return the only file that holds `variable`, the data folder, and where its images may be.

    Raises:
        DataError: when there is no such file, or more than one.
    """
    found = files(path, variable)
    if len(found) != 1:
        raise DataError(f"{path} has {len(found)} .mat files with {variable!r}; pass one of them")
    root = path if path.is_dir() else path.parent
    resolve_inside(root, found[0], str(path))
    beside = found[0].parent.relative_to(root)
    return found[0], root, [str(beside / "images"), "images", str(beside), ""]


def _has(file: Path, variable: str) -> bool:
    try:
        return variable in variables(file)
    except DataError:
        return False


def load(path: Path, variable: str) -> Any:
    """Return the value of one variable.

    Raises:
        DataError: when the file has no such variable, or can't be read.
    """
    found = variables(path)
    if variable not in found:
        raise DataError(f"{path}: expected the variable {variable!r}, found {', '.join(found)}")
    try:
        return matlab_process.load(path, variable)
    except (UnreadableError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, matlab_process.VersionError):
        return DataError(f"{path} is a MATLAB file of version 7.3; save it in MATLAB with -v7")
    return DataError(f"{path} can't be read as a MATLAB file: {error}; copy it again")


def struct_array(value: Any, where: str) -> list[Struct]:
    """Return a struct array of any size as a list; MATLAB's [] is empty.

    Raises:
        DataError: when the value is anything else.
    """
    if isinstance(value, dict):
        return [value]
    found = list(value) if isinstance(value, (list, np.ndarray)) and np.size(value) else []
    if np.size(value) and not (found and all(isinstance(record, dict) for record in found)):
        raise DataError(f"{where} should be a struct array, not {value!r:.60}; copy the file again")
    return found


def struct(value: Any, where: str) -> Struct:
    """Return a single struct.

    Raises:
        DataError: when the value is anything else.
    """
    found = struct_array(value, where)
    if len(found) != 1:
        raise DataError(f"{where} should be one struct, not {len(found)}; copy the file again")
    return found[0]


def field(record: Struct, name: str, where: str) -> Any:
    """Return a required field.

    Raises:
        DataError: when it is missing.
    """
    if name not in record:
        raise DataError(f"{where} has no field {name!r}, only {', '.join(record)}")
    return record[name]


def absent(record: Struct, name: str) -> bool:
    """Return whether a field is missing or holds [], with which MATLAB pads struct arrays."""
    return name not in record or np.size(record[name]) == 0


def text(record: Struct, name: str, where: str) -> str:
    """Return a field that holds text.

    Raises:
        DataError: when it holds anything else.
    """
    value = field(record, name, where)
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} should be text, not {value!r:.60}")
    return value


def number(record: Struct, name: str, where: str) -> float:
    """Return a field that holds one finite number.

    Raises:
        DataError: when it holds anything else.
    """
    value = field(record, name, where)
    try:
        found = float(np.asarray(value, np.float64).reshape(()))
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{where}: {name} should be a number, not {value!r:.60}")
    return found

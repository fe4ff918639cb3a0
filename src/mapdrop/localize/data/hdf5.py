"""Read HDF5 files with care: nothing in one leads to another file, or is executed.

The library crashes for some damaged files, and reads others for ever: it has a process of its own.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from mapdrop.localize import reader_process
from mapdrop.localize.data.base import DataError
from mapdrop.system.files import opened

if TYPE_CHECKING:
    import h5py

MOST_BYTES = 1 << 30
"""Largest array of labels. Compressed, a far larger one may need only a few bytes."""

P = ParamSpec("P")
T = TypeVar("T")


def read_hdf5(
    function: Callable[Concatenate[Path, P], T],
    package: str,
    path: Path,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Return what a function makes of a file, by `reader_process.call`.

    Args:
        function: what to call.
        package: the package that it needs.
        path: the file.
        args: its other arguments.
        kwargs: as args.

    Raises:
        ModuleNotFoundError: when the package is missing.
        DataError: when the file can't be read.
    """
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    try:
        return reader_process.call(function, path, *args, **kwargs)
    except (reader_process.UnreadableError, OSError) as error:
        raise DataError(f"{path} can't be read: {error!s:.200}; copy or save it again") from error


@contextmanager
def opened_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file, in a function for `read_hdf5`; all of its arrays are inside it.

    Raises:
        ValueError: when it names other files.
        OSError: when it can't be opened.
    """
    import h5py

    about = path.stat()
    _verify(path, about.st_mtime_ns, about.st_size)
    with opened(path) as file, h5py.File(file, "r") as found:
        yield found


@lru_cache(maxsize=64)
def _verify(path: Path, *_unused: int) -> None:
    """Verify a file; the result is kept, because a package is opened for each of its images."""
    import h5py

    with opened(path) as file, h5py.File(file, "r") as found:
        _verify_arrays(found)


def _verify_arrays(file: h5py.File) -> None:
    """Refuse what HDF5 would look up in other files, and arrays that would fill the memory.

    Raises:
        ValueError: when there is any.
    """
    import h5py

    links: list[tuple[str, object]] = []
    file.visititems_links(lambda name, link: links.append((name, link)))
    for name, link in links:
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(f"{name!r} is a link to another file")
        item = file[name] if isinstance(link, h5py.HardLink) else None
        if not isinstance(item, h5py.Dataset):
            continue
        if item.external or item.is_virtual:
            raise ValueError(f"the values of {name!r} are in another file")
        # Those with more dimensions are videos, of which one frame at a time is read.
        if item.ndim < 3 and item.nbytes > MOST_BYTES:
            raise ValueError(f"{name!r} has more than {MOST_BYTES} bytes")


def unpickled(data: bytes) -> Any:
    """Return pickled lists, tuples, dictionaries, numbers and text.

    Raises:
        pickle.UnpicklingError: for anything else, which could execute code.
    """
    # Python 2 pickled names as bytes.
    return _PlainUnpickler(BytesIO(data), encoding="utf-8").load()


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds an object, {module}.{name}")

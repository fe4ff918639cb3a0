"""End a command with a message, and no traceback, where its user can correct what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mapdrop.system.extras import remedy
from mapdrop.system.printable import printable_lines, stop

Exceptions = tuple[type[Exception], ...]
_EXTRAS = {"av": "video", "h5py": "deeplabcut", "ray": "ray", "sleap_io": "sleap"}
"""Which extra has a package, for those that are not in `study`."""


@contextmanager
def user_errors(*, arguments: Exceptions = (), others: Exceptions = ()) -> Iterator[None]:
    """End a command for errors of its user: exit code 2 for its arguments, 1 for anything else.

    A package that is missing is among the others. Every other exception is a fault of the program
    and keeps its traceback.

    Args:
        arguments: exceptions by which the block says that an argument is wrong.
        others: exceptions by which it says that anything else is, as a file.
    """
    # Here, because `mapdrop.tools` is imported where typer is not installed.
    import typer

    try:
        yield
    except typer.BadParameter as error:
        error.message = printable_lines(error.message)
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mapdrop"):
            raise
        extra = _EXTRAS.get(error.name or "", "study")
        stop(f"{error.name} is not installed: {remedy(extra)}")
    except others as error:
        stop(error)
    except arguments as error:
        stop(error, 2)

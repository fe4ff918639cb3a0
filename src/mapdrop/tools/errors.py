"""What the user of a command can mend, told in a sentence instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mapdrop.system.printable import stop


@contextmanager
def told() -> Iterator[None]:
    """End a command where its arguments (exit code 2) or the installation (1) are at fault.

    Around what reads arguments alone: a ValueError of anything else is a fault of the program.
    """
    try:
        yield
    except ModuleNotFoundError as problem:
        if (problem.name or "").startswith("mapdrop"):
            raise
        stop(f'{problem.name} is not installed: pip install "mapdrop[study]"')
    except ValueError as problem:  # PatternError is one.
        stop(problem, 2)

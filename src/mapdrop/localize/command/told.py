"""Problems told in a sentence: what was expected, what came, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from mapdrop.localize.errors import LocalizeError


@contextmanager
def told() -> Iterator[None]:
    """Ends the command with a message where a user's file, folder or installation is at fault."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mapdrop"):
            raise
        _stop(f'{error.name} is not installed: pip install "mapdrop[study]"')
    except (LocalizeError, OSError) as error:
        _stop(str(error))


def _stop(message: str) -> None:
    typer.secho(f"error: {message}", err=True, fg="red")
    raise typer.Exit(1)

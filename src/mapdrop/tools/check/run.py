"""Check frameworks one after the other, with progress on standard error."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

import mapdrop
from mapdrop.spec.words import VERSION
from mapdrop.system.environment import Machine
from mapdrop.tools.check import process
from mapdrop.tools.check.rows import MISSING, Row, disagreements
from mapdrop.tools.installed import Installed, find


@dataclass(frozen=True)
class Outcome:
    """Everything that was found."""

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that is here has the specification's bits."""
        return not any(row.wrong for row in self.rows) and not disagreements(self.rows)

    @property
    def versions(self) -> dict[str, str]:
        """Of everything that took part."""
        own = {"mapdrop": mapdrop.__version__, "python": platform.python_version()}
        return own | {name: version for row in self.rows for name, version in row.versions.items()}

    @property
    def machine(self) -> dict[str, str | int | None]:
        """What times depend on."""
        here = Machine.here()
        return {"system": here.system, "processor": here.architecture, "cores": here.cores}

    @property
    def specification(self) -> int:
        """The version of the mask specification."""
        return VERSION


def perform(names: Sequence[str], quick: bool) -> Outcome:
    """Check the frameworks of these names."""
    rows: list[Row] = []
    with _progress() as doing:
        for framework in find(names):
            if isinstance(framework, Installed):
                rows += process.check(framework, quick, doing)
            else:
                rows.append(Row(framework.title, status=MISSING, reason=framework.reason))
    return Outcome(tuple(rows))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show one line that changes on a terminal, and a line for each step in a log."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda text: console.print(f"checking {text}", markup=False)
        return
    with console.status("checking") as status:
        yield lambda text: status.update(f"checking {text}")

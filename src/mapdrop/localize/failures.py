"""What can't be read or written, recorded while the rest goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mapdrop.localize.data import DataError, ImagesError
from mapdrop.localize.sources import Sources


@dataclass(frozen=True)
class Failures:
    """The failures of a command.

    Attributes:
        told: a sentence for each image, clip or result that can't be read or written.
    """

    told: list[str] = field(default_factory=list)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record an error of reading or writing, and continue."""
        try:
            yield
        except (DataError, OSError) as error:
            self.told.append(str(error))

    def check(self, sources: Sources) -> None:
        """Raise ImagesError if there are any, here or among the files of a folder."""
        if every := [*sources.unread.values(), *self.told]:
            raise ImagesError(every, len(sources))

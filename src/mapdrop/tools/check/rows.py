"""The result of one framework, device and mode: a line of the table, and an object of the JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

# SAME and DIFFERS were compared; FAILED broke; the others are not available here.
SAME, DIFFERS, FAILED, UNAVAILABLE, MISSING = "same", "differs", "failed", "unavailable", "missing"


@dataclass(frozen=True)
class Row:
    """One framework, device and mode.

    Attributes:
        framework: its name here, with Keras' backend.
        device, device_name, mode: as in `Adapter`; empty where the framework could not be imported.
        status: one of the constants of this module.
        vectors, values: how many were the same bits, and how many were compared: of vectors.json,
            and of arrays of values.
        differs: for each that was not the same, its name and how it differs.
        digests: of the results that all have in common, by dtype and of the masks.
        ms, own_ms: the median time of a drop, and of the framework's own dropout.
        own: the name of that.
        reason: why it failed or is not available, and what to do about it.
        versions: of what took part.
    """

    framework: str
    device: str = ""
    device_name: str = ""
    mode: str = ""
    status: str = SAME
    vectors: tuple[int, int] = (0, 0)
    values: tuple[int, int] = (0, 0)
    differs: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    ms: float | None = None
    own_ms: float | None = None
    own: str = ""
    reason: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name in a sentence."""
        return " ".join(filter(None, (self.framework, self.device, self.mode)))

    @property
    def wrong(self) -> bool:
        """Whether the check fails for it."""
        return self.status in (DIFFERS, FAILED)


def disagreements(rows: Iterable[Row]) -> dict[str, dict[str, list[str]]]:
    """Return the parts without one digest everywhere: for each, digest -> who has it."""
    parts: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for part, digest in row.digests.items():
            parts.setdefault(part, {}).setdefault(digest, []).append(row.name)
    return {part: digests for part, digests in parts.items() if len(digests) > 1}


def common_digests(rows: Iterable[Row]) -> dict[str, str]:
    """Return the digest of each part on which all agree."""
    rows = list(rows)
    split = disagreements(rows)
    found = {part: digest for row in rows for part, digest in row.digests.items()}
    return {part: digest for part, digest in found.items() if part not in split}

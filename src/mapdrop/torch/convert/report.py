"""The report: which layers were replaced, and what drops by other means, as a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Replaced:
    """One layer that was replaced.

    Attributes:
        names: of all places in the model where it stood.
        old, new: the layers as text.
        note: what else is different now; empty if nothing is.
    """

    names: tuple[str, ...]
    old: str
    new: str
    note: str = ""


@dataclass(frozen=True)
class Left:
    """Something that drops, and was left as it is.

    Attributes:
        name: of the layer that drops, or whose forward does.
        what: it is.
        reason: why it was left.
    """

    name: str
    what: str
    reason: str


@dataclass(frozen=True)
class ConvertReport:
    """What `convert` did to a model.

    Attributes:
        replaced: one for each layer that was replaced.
        left: one for each drop layer that was not, and one for each place in the code that drops
            by a function.
    """

    replaced: tuple[Replaced, ...]
    left: tuple[Left, ...]

    def __str__(self) -> str:
        lines = _grouped((r.names[0], f"replaced  {r.old} -> {r.new}") for r in self.replaced)
        lines += dict.fromkeys(f"note: {r.note}" for r in self.replaced if r.note)
        return "\n".join(
            [*lines, *_grouped((o.name, f"left      {o.what}: {o.reason}") for o in self.left)]
        )


def _grouped(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each text, with the number of names and the first of them."""
    names: dict[str, list[str]] = {}
    for name, text in pairs:
        names.setdefault(text, []).append(name or "the model itself")
    more = {text: f" and {len(n) - 1} more" if len(n) > 1 else "" for text, n in names.items()}
    return [f"{text}  ({n[0]}{more[text]})" for text, n in names.items()]

"""The list of mutants that survive, each with the reason: `survivors.txt`.

An entry is known by what it changes, not by line numbers:

    spec/law.py centre_rate
    - if law.p in (0, 1):
    + if law.p in (0, 2):
    equivalent: the search ends at 1 too
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.mutants.mutant import Mutant

LIST = Path(__file__).with_name("survivors.txt")
LEAST = 0.9
Entry = tuple[Mutant, str]


def read(text: str) -> list[Entry]:
    """Return the list's mutants, each with its reason."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if lines:
            where, before, after, *reason = lines
            file, function, nth = (*where.split(), "", "")[:3]
            if function.startswith("#"):
                function, nth = "", function
            number = int(nth[1:]) if nth else 1
            mutant = Mutant(file, function, before[2:], after[2:], number)
            found.append((mutant, " ".join(reason)))
    return found


def written(entries: Iterable[Entry]) -> str:
    """Return the entries as `read` reads them."""
    blocks = []
    for mutant, reason in entries:
        number = f" #{mutant.nth}" if mutant.nth > 1 else ""
        where = f"{mutant.file} {mutant.function}".rstrip() + number
        blocks.append(f"{where}\n- {mutant.before}\n+ {mutant.after}\n{reason}".rstrip())
    return "\n\n".join(blocks) + "\n"


def faults(
    mutants: Sequence[Mutant], survivors: Sequence[Mutant], listed: Sequence[Entry], whole: bool
) -> list[str]:
    """Return what is wrong with the list: with `whole`, all mutants of its files were tried."""
    known = {mutant for mutant, _ in listed}
    found = [
        f"survives, and is not listed: {m.file} {m.function}: {m.after}"
        for m in survivors
        if m not in known
    ]
    tried = set(mutants)
    for mutant, reason in listed:
        if not reason:
            found.append(
                f"listed without a reason: {mutant.file} {mutant.function}: {mutant.after}"
            )
        if whole and mutant not in tried:
            found.append(f"listed, and no mutant: {mutant.file} {mutant.function}: {mutant.after}")
        elif mutant in tried and mutant not in survivors:
            found.append(f"listed, and killed: {mutant.file} {mutant.function}: {mutant.after}")
    share = 1 - len(survivors) / max(len(mutants), 1)
    if share < LEAST and whole:
        found.append(f"only {share:.1%} are killed, and {LEAST:.0%} must be")
    return found

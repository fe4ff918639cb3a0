"""Which tests may notice a mutant, the likely and the fast ones first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.mutant import Mutant
from tests.mutants.parts import SOURCE


class Tests:
    """What each test runs and how long it takes, without any change."""

    def __init__(self, seconds: dict[str, float], lines: dict[str, list[str]]) -> None:
        self.seconds = seconds
        self.lines = {line: set(tests) for line, tests in lines.items()}

    def of(self, mutant: Mutant) -> list[str]:
        """Return the tests that may notice a mutant, of its own file and fast ones first."""
        found = set[str]().union(
            *(self.lines.get(f"{mutant.file}:{line}", ()) for line in mutant.lines)
        )
        # Tests of the same parameters may share what the first of them worked out.
        shared = {test.partition("[")[2] for test in found} - {""}
        found |= {test for test in self.seconds if test.partition("[")[2] in shared}
        # What runs at the import of the file alone, every test may notice.
        chosen = found if mutant.function and found else set(self.seconds)
        words = _words_of(mutant)

        own = f"/test_{Path(mutant.file).stem}.py:"

        def late(test: str) -> tuple[bool, float]:
            named = not words.isdisjoint(re.findall(r"[a-z_0-9]{2,}", test))
            return own not in test, self.seconds[test] / (10 if named else 1)

        return _in_turn(sorted(chosen, key=late))

    def limit(self, chosen: list[str]) -> int:
        """Return after how many seconds a mutant that still runs has got stuck."""
        return 20 + int(5 * sum(self.seconds[test] for test in chosen))


def _words_of(mutant: Mutant) -> set[str]:
    """Return the words of a change, and of what uses the name that it is about."""
    lines = (SOURCE / mutant.file).read_text(encoding="utf-8").splitlines()
    about = [mutant.before, mutant.function]
    if name := re.match(r"(\w+) = ", lines[mutant.lines.start - 1]):
        about += [line for line in lines if re.search(rf"\b{name[1]}\b", line)]
    return set(re.findall(r"[a-z_0-9]{2,}", " ".join(about)))


def _in_turn(tests: Iterable[str]) -> list[str]:
    """Return the first test of each function, then the second of each, and so on."""
    seen = Counter[str]()
    turns = []
    for place, test in enumerate(tests):
        function = test.partition("[")[0]
        seen[function] += 1
        turns.append((seen[function], place, test))
    return [test for _, _, test in sorted(turns)]

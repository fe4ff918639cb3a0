"""Run `python -m tests.mutants [PART or FILE]`; see CONTRIBUTING.md."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant, mutants_of
from tests.mutants.parts import Part, parts_of
from tests.mutants.session import MutantsPlugin
from tests.mutants.survivors import LIST, faults, read, written

_QUICK = "not (long or compiler or subprocess or training or exhaustive)"


def main() -> int:
    """Run the mutants of all parts, a part, or a file. Return 1 if the list is not the truth."""
    asked = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    asked.add_argument("wanted", nargs="?", default="", help="a part, or a file as spec/law.py")
    asked.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    asked.add_argument("--sample", type=int, help="only so many of each, drawn by a fixed seed")
    asked.add_argument("--again", action="store_true", help="only those that survived last time")
    asked.add_argument("--most", type=int, help="tests for a mutant; all that run its line if left")
    options = asked.parse_args()
    parts = parts_of(options.wanted)
    if len(parts) == 1:
        return _part(*parts[0], options)
    # Each in a process of its own: what one imports is not the other's.
    given = [option for option in sys.argv[1:] if option != options.wanted]
    calls = [[sys.executable, "-m", "tests.mutants", part.name, *given] for part, _ in parts]
    return max([subprocess.run(call).returncode for call in calls])


def _part(part: Part, files: tuple[str, ...], options: argparse.Namespace) -> int:
    print(f"{part.name}: making mutants of {len(files)} files", flush=True)
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    results = Path("build/mutants") / f"{part.name}.txt"
    if options.again:
        before = {mutant for mutant, _ in read(results.read_text(encoding="utf-8"))}
        mutants = [mutant for mutant in mutants if mutant in before]
    if options.sample is not None:
        mutants = random.Random(0).sample(mutants, min(options.sample, len(mutants)))
    survivors = run(part, mutants, options)
    killed = len(mutants) - len(survivors)
    print(f"{part.name}: {killed} of {len(mutants)} killed, {killed / max(len(mutants), 1):.1%}")
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(written([(mutant, "") for mutant in survivors]), encoding="utf-8")
    listed = [entry for entry in read(LIST.read_text(encoding="utf-8")) if entry[0].file in files]
    whole = options.sample is None and not options.again
    found = faults(mutants, survivors, listed, whole)
    print(*found, sep="\n")
    return int(bool(found))


def run(part: Part, mutants: list[Mutant], options: argparse.Namespace) -> list[Mutant]:
    """Run mutants with the tests of their part. Return those that survive."""
    survivors: list[Mutant] = []
    done, began = 0, time.monotonic()

    def verdict(mutant: Mutant, killed: bool, seconds: float) -> None:
        nonlocal done
        done += 1
        if not killed:
            survivors.append(mutant)
            print(f"  survives: {mutant.file} {mutant.function}\n    - {mutant.before}")
            print(f"    + {mutant.after}", flush=True)
        if done % 25 == 0:
            left = (time.monotonic() - began) / done * (len(mutants) - done) / 60
            print(f"{done} of {len(mutants)}, {left:.0f} minutes left", flush=True)

    os.environ["OMP_NUM_THREADS"] = "1"  # Threads of OpenMP are lost in a fork.
    plugin = MutantsPlugin(part, mutants, verdict, options.jobs, options.most)
    given = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:faulthandler", "-s", "-q")
    status = pytest.main([*given, "-m", _QUICK, *part.tests], plugins=[plugin])
    if status != 0:
        raise SystemExit(int(status))
    return sorted(survivors, key=mutants.index)


if __name__ == "__main__":
    sys.exit(main())

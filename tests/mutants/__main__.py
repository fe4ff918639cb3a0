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
    asked.add_argument(
        "--sample", type=int, help="only so many of each part, drawn by a fixed seed"
    )
    options = asked.parse_args()
    parts = parts_of(options.wanted)
    if len(parts) > 1:  # Each in a process of its own: what one imports is not the other's.
        calls = ([sys.executable, "-m", "tests.mutants", part.name] for part, _ in parts)
        more = [f"--jobs={options.jobs}"]
        more += [f"--sample={options.sample}"] if options.sample else []
        return max([subprocess.run([*call, *more]).returncode for call in calls])
    ((part, files),) = parts
    return _part(part, files, options.jobs, options.sample)


def _part(part: Part, files: tuple[str, ...], jobs: int, sample: int | None) -> int:
    print(f"{part.name}: making mutants of {len(files)} files", flush=True)
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    if sample is not None:
        mutants = random.Random(0).sample(mutants, min(sample, len(mutants)))
    survivors = _run(part, files, mutants, jobs)
    killed = len(mutants) - len(survivors)
    print(f"{part.name}: {killed} of {len(mutants)} killed, {killed / len(mutants):.1%}")
    listed = [entry for entry in read(LIST.read_text(encoding="utf-8")) if entry[0].file in files]
    found = faults(mutants, survivors, listed, whole=sample is None)
    out = Path("build/mutants") / f"{part.name}.txt"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(written([(mutant, "") for mutant in survivors]), encoding="utf-8")
    print(*found, sep="\n")
    return int(bool(found))


def _run(part: Part, files: tuple[str, ...], mutants: list[Mutant], jobs: int) -> list[Mutant]:
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
    plugin = MutantsPlugin(part, files, mutants, verdict, jobs)
    options = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:faulthandler", "-s", "-q")
    status = pytest.main([*options, "-m", _QUICK, *part.tests], plugins=[plugin])
    if status != 0:
        raise SystemExit(int(status))
    return sorted(survivors, key=mutants.index)


if __name__ == "__main__":
    sys.exit(main())

"""A session of pytest that runs its tests on mutants, each in a process forked for it.

The tests are collected once. A forked process imports the changed file in the place of the real
one, and with it everything that holds what it defines; nothing is written to disk. Frameworks stay
imported: a mutant costs tenths of a second, where a process of its own would take ten seconds.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import re
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.parts import SOURCE, Part

EXAMPLES = 20
"""Of Hypothesis, the same in every process; what they miss is seen by what all tests see."""
Verdict = Callable[[Mutant, bool, float], None]
"""Is told of each mutant whether it was killed, and in how many seconds."""


class MutantsPlugin:
    """Runs mutants in the place of the tests."""

    def __init__(
        self, part: Part, files: Sequence[str], mutants: Sequence[Mutant], verdict: Verdict,
        jobs: int,
    ) -> None:  # fmt: skip
        self.part, self.files, self.mutants, self.verdict = part, files, mutants, verdict
        self.jobs = jobs

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all mutants, and none of the tests by themselves."""
        tests = _baseline(session, self.part, self.files)
        waiting, running = list(self.mutants), dict[int, tuple[Mutant, float]]()
        while waiting or running:
            while waiting and len(running) < self.jobs:
                mutant = waiting.pop(0)
                chosen = tests.of(mutant)
                pid = _fork(lambda: _run(session, self.part, mutant, chosen, tests.limit(chosen)))
                running[pid] = mutant, time.monotonic()
            pid, status = os.wait()
            mutant, began = running.pop(pid)
            self.verdict(mutant, status != 0, time.monotonic() - began)
        return True


class Tests:
    """What each test runs and how long it takes, without any change."""

    def __init__(self, seconds: dict[str, float], lines: dict[str, list[str]]) -> None:
        self.seconds = seconds
        self.lines = {line: set(tests) for line, tests in lines.items()}

    def of(self, mutant: Mutant) -> list[str]:
        """Return the tests that may notice a mutant, the likely and the fast ones first."""
        found = set[str]().union(
            *(self.lines.get(f"{mutant.file}:{line}", ()) for line in mutant.lines)
        )
        # What runs at the import of the file alone, every test may notice.
        chosen = found if mutant.function and found else set(self.seconds)
        words = set(re.findall(r"[a-z_0-9]{3,}", f"{mutant.before} {mutant.function}"))

        def late(test: str) -> tuple[bool, float]:
            return words.isdisjoint(re.findall(r"[a-z_0-9]{3,}", test)), self.seconds[test]

        return sorted(chosen, key=late)

    def limit(self, chosen: list[str]) -> int:
        """Return after how many seconds a mutant that still runs has got stuck."""
        return 20 + int(5 * sum(self.seconds[test] for test in chosen))


def _fork(body: Callable[[], NoReturn]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            body()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return pid


def _run(
    session: pytest.Session, part: Part, mutant: Mutant, chosen: list[str], limit: int
) -> NoReturn:
    """Exit with 0 if all chosen tests pass on the mutant."""
    signal.alarm(limit)
    sys.meta_path.insert(0, _Instead(mutant))
    for item, following in _again(session, part, chosen):
        if not _passes(item, following):
            os._exit(1)
    os._exit(0)


def _baseline(session: pytest.Session, part: Part, files: Sequence[str]) -> Tests:
    """Run the tests as the mutants' will be, without a change. Exits unless all pass."""
    reading, writing = os.pipe()
    wanted = [item.nodeid for item in session.items]

    def body() -> NoReturn:
        seconds, lines = dict[str, float](), defaultdict[str, list[str]](list)
        paths = {str((SOURCE / file).resolve()): file for file in files}
        tests = _again(session, part, wanted)
        caches = _caches()
        for item, following in tests:
            for cache in caches:  # So that each test runs what it needs.
                cache.cache_clear()
            trace, began = _Trace(paths), time.monotonic()
            passes = _passes(item, following, trace)
            if not passes:
                os.write(writing, json.dumps(item.nodeid).encode())
                os._exit(1)
            seconds[item.nodeid] = time.monotonic() - began
            for line in trace.lines:
                lines[line].append(item.nodeid)
        with os.fdopen(writing, "w") as out:
            json.dump([seconds, lines], out)
        os._exit(0)

    pid = _fork(body)
    os.close(writing)
    with os.fdopen(reading) as answers:
        answer = answers.read()
    if os.waitpid(pid, 0)[1]:
        raise pytest.UsageError(f"without any mutant these tests fail: {answer}")
    return Tests(*json.loads(answer))


def _again(
    session: pytest.Session, part: Part, chosen: list[str]
) -> list[tuple[pytest.Item, pytest.Item | None]]:
    """Import and collect the tests' files anew; return the tests, each with the next one."""
    os.environ.get("LOUD") or _be_silent(session)
    for name in list(sys.modules):
        package = name.partition(".")[0]
        if name == part.reloads or name.startswith(f"{part.reloads}.") or package == "tests":
            del sys.modules[name]
    importlib.invalidate_caches()
    hypothesis = importlib.import_module("hypothesis")  # Later than pytest looks at its plugins.
    hypothesis.settings.register_profile("mutants", max_examples=EXAMPLES)
    hypothesis.settings.load_profile("mutants")
    place = {test: number for number, test in enumerate(chosen)}
    files = sorted({test.partition("::")[0] for test in chosen})
    items = [item for item in session.perform_collect(files) if item.nodeid in place]
    items.sort(key=lambda item: place[item.nodeid])
    return list(zip(items, [*items[1:], None], strict=True))


def _passes(
    item: pytest.Item, following: pytest.Item | None, trace: Callable[..., Any] | None = None
) -> bool:
    reports = _Reports()
    item.config.pluginmanager.register(reports)
    sys.settrace(trace)
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    sys.settrace(None)
    item.config.pluginmanager.unregister(reports)
    return not reports.failed


class _Reports:
    def __init__(self) -> None:
        self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= report.failed


class _Trace:
    """Records which lines of some files run, but for those that run at import."""

    def __init__(self, paths: dict[str, str]) -> None:
        self.paths, self.lines = paths, set[str]()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        file = self.paths.get(frame.f_code.co_filename)
        return None if file is None else functools.partial(self._line, file)

    def _line(self, file: str, frame: FrameType, event: str, argument: Any) -> Any:
        self.lines.add(f"{file}:{frame.f_lineno}")
        return functools.partial(self._line, file)


class _Instead:
    """Finds the mutant in the place of the file."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = ".".join(("mapdrop", *Path(mutant.file).with_suffix("").parts))
        self.mutant = mutant

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        file = str((SOURCE / self.mutant.file).resolve())
        loader = _Loader(name, file)
        loader.source = self.mutant.source
        return spec_from_loader(name, loader, origin=file)


class _Loader(SourceFileLoader):
    source: str

    def get_code(self, fullname: str) -> CodeType:
        code = compile(self.source, self.path, "exec", dont_inherit=True)
        assert isinstance(code, CodeType)
        return code


def _caches() -> list[Any]:
    kind = functools._lru_cache_wrapper
    ours = (found for found in gc.get_objects() if type(found) is kind)
    return [found for found in ours if str(found.__module__).startswith("mapdrop")]


def _be_silent(session: pytest.Session) -> None:
    session.config.pluginmanager.unregister(name="terminalreporter")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)

"""A session of pytest that runs its tests on mutants, each in a process forked for it.

The tests are collected once. In a forked process the changed functions get their new code; where
the change is in what runs at import, everything that may hold what the file defines is imported
anew, and the tests with it. Nothing is written to disk. A mutant costs tenths of a second, where a
process of its own would take ten seconds to import frameworks.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from types import CodeType
from typing import Any, NoReturn

import pytest

from tests.mutants.chosen import Tests
from tests.mutants.live import Live, module_of
from tests.mutants.mutant import Mutant
from tests.mutants.parts import SOURCE, Part
from tests.mutants.trace import Trace, remembered

EXAMPLES = 20
"""Of Hypothesis, the same in every process; what they miss is seen by what all tests see."""
Verdict = Callable[[Mutant, bool, float], None]
"""Is told of each mutant whether it was killed, and in how many seconds."""


class MutantsPlugin:
    """Runs mutants in the place of the tests.

    Args:
        part: that was changed.
        mutants: to run.
        verdict: is called with the result of each.
        jobs: how many run at once.
        most: how many tests a mutant gets at most; all that may notice it if None.
    """

    def __init__(
        self, part: Part, mutants: Sequence[Mutant], verdict: Verdict, jobs: int, most: int | None
    ) -> None:
        self.part, self.mutants, self.verdict = part, mutants, verdict
        self.jobs, self.most = jobs, most

    def pytest_collection(self) -> None:
        """Have few examples of Hypothesis, before the tests are imported."""
        settings = importlib.import_module("hypothesis").settings  # After pytest's look at plugins.
        settings.register_profile("mutants", max_examples=EXAMPLES)
        settings.load_profile("mutants")
        for name in self.part.frameworks:
            importlib.import_module(name)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all mutants, and none of the tests by themselves."""
        live = Live(self.part.files)
        tests = Tests(*remembered(self.part, lambda: self._measured(session, live)))
        gc.freeze()  # Else each process would copy all that a collection of garbage looks at.
        waiting, running = list(self.mutants), dict[int, tuple[Mutant, float]]()
        while waiting or running:
            while waiting and len(running) < self.jobs:
                mutant = waiting.pop(0)
                running[self._start(session, live, tests, mutant)] = mutant, time.monotonic()
            pid, status = os.wait()
            mutant, began = running.pop(pid)
            self.verdict(mutant, status != 0, time.monotonic() - began)
        return True

    def _measured(self, session: pytest.Session, live: Live) -> Any:
        """Return what the tests run. Raises UsageError unless all pass, also imported anew."""
        found = _baseline(session, self.part.files, live)
        file = self.part.files[-1]
        text = (SOURCE / file).read_text(encoding="utf-8")
        idle = Mutant(file, "", "", "", source=f"{text}\n_IDLE = 0\n")
        if os.waitpid(self._start(session, live, Tests(*found), idle), 0)[1]:
            raise pytest.UsageError("a change that changes nothing is noticed, by itself")
        return found

    def _start(self, session: pytest.Session, live: Live, tests: Tests, mutant: Mutant) -> int:
        chosen = tests.of(mutant)[: self.most]
        limit = tests.limit(chosen)
        return _fork(lambda: _run(session, self.part, live, mutant, chosen, limit))


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
    session: pytest.Session, part: Part, live: Live, mutant: Mutant, chosen: list[str], limit: int
) -> NoReturn:
    """Exit with 0 if all chosen tests pass on the mutant."""
    signal.alarm(limit)
    _be_silent(session)
    live.forget_results()
    if not live.become(mutant):
        if mutant.file in part.tables:
            live.refill(mutant)
        else:
            sys.meta_path.insert(0, _Instead(mutant))
            _collect_again(session, part, chosen)
    for item, following in _in_order(session, chosen):
        if not _passes(item, following):
            os._exit(1)
    os._exit(0)


def _baseline(session: pytest.Session, files: Sequence[str], live: Live) -> Any:
    """Return the tests' seconds, and the tests of each line, as they are without a change.

    Raises UsageError unless all pass.
    """
    reading, writing = os.pipe()

    def body() -> NoReturn:
        _be_silent(session)
        seconds, lines = dict[str, float](), defaultdict[str, list[str]](list)
        paths = {str((SOURCE / file).resolve()): file for file in files}
        for item, following in _in_order(session, [item.nodeid for item in session.items]):
            live.forget_results()  # So that each test runs what it needs.
            trace, began = Trace(paths), time.monotonic()
            if not _passes(item, following, trace):
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
    return json.loads(answer)


def _in_order(
    session: pytest.Session, chosen: list[str]
) -> list[tuple[pytest.Item, pytest.Item | None]]:
    """Return the tests in this order, each with the next one."""
    place = {test: number for number, test in enumerate(chosen)}
    items = [item for item in session.items if item.nodeid in place]
    items.sort(key=lambda item: place[item.nodeid])
    return list(zip(items, [*items[1:], None], strict=False))


def _collect_again(session: pytest.Session, part: Part, chosen: list[str]) -> None:
    """Import what may hold what a file defines, and the tests, anew."""
    for name in list(sys.modules):
        package = name.partition(".")[0]
        if name == part.reloads or name.startswith(f"{part.reloads}.") or package == "tests":
            del sys.modules[name]
    session.perform_collect(sorted({test.partition("::")[0] for test in chosen}))
    if session.testsfailed:  # A file of tests that cannot be imported has noticed.
        os._exit(1)


def _passes(
    item: pytest.Item, following: pytest.Item | None, trace: Callable[..., Any] | None = None
) -> bool:
    failed = item.session.testsfailed
    sys.settrace(trace)
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    sys.settrace(None)
    return item.session.testsfailed == failed


class _Instead:
    """Finds the mutant in the place of the file."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = module_of(mutant.file)
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


def _be_silent(session: pytest.Session) -> None:
    session.config.pluginmanager.unregister(name="terminalreporter")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)

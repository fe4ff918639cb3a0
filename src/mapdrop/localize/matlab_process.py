"""SciPy's reader of MATLAB files, in a process of its own.

The reader is compiled code. Some damaged files crash it, and the interpreter with it, and others
keep it busy until memory is full: here that ends a child, and the file is told to be damaged.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer
from typing import Any, NamedTuple

SECONDS, SECONDS_PER_MB = 60.0, 60.0
MEMORY, MEMORY_PER_BYTE = 1 << 30, 500
"""What an answer may take. The lists of a compressed file are far larger than the file, so MPII's
12 MB may take 13 minutes and 7 GB. Of 17 kB, one wrong byte has taken 71 seconds and 9.6 GB."""


class UnreadableError(Exception):
    """SciPy can't read the file."""


class VersionError(UnreadableError):
    """The file is of version 7.3, which is HDF5."""


class Answer(NamedTuple):
    """What the child found, or what kept it from that."""

    value: Any = None
    problem: str | None = None
    is_hdf5: bool = False


def names(path: Path) -> tuple[str, ...]:
    """Return the names of a file's variables.

    Raises:
        UnreadableError: when it is damaged.
    """
    found: tuple[str, ...] = _READER.ask(path, None)
    return found


def load(path: Path, variable: str) -> Any:
    """Return one variable: a struct as a dict, a struct array as a list of them.

    Raises:
        UnreadableError: when the file is damaged.
    """
    return _READER.ask(path, variable)


class _Reader:
    """The child, which is started when it is needed, and again after it was lost."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def ask(self, path: Path, variable: str | None) -> Any:
        with self._lock:
            answer = self._answer(os.path.abspath(path), variable)
        if answer.problem is None:
            return answer.value
        raise (VersionError if answer.is_hdf5 else UnreadableError)(answer.problem)

    def _answer(self, path: str, variable: str | None) -> Answer:
        if self._process is None:
            self._process = _started()
        megabytes = os.path.getsize(path) / 1e6
        timer = Timer(SECONDS + SECONDS_PER_MB * megabytes, self._process.kill)
        timer.start()
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            pickle.dump((path, variable), self._process.stdin)
            self._process.stdin.flush()
            return Answer(*pickle.load(self._process.stdout))
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
            return Answer(problem="it crashed the reader, or kept it busy for too long")
        finally:
            timer.cancel()

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(BrokenPipeError), process:  # Closes the pipes, and waits.
                pass


_READER = _Reader()
atexit.register(_READER.close)


def _started() -> subprocess.Popen[bytes]:
    """A child that imports what this process does, but nothing from the working folder."""
    # The threads of linear algebra, which nobody needs here, reserve memory.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    code = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
        f"from {__name__} import serve; serve()"
    )
    places = json.dumps([place for place in sys.path if place])
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, places],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def serve() -> None:
    """Answer, in the child, until nobody asks any more."""
    warnings.simplefilter("ignore")
    # The parent reads answers: whatever a library prints goes elsewhere.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            path, variable = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(tuple(_read(path, variable)), answers)
        answers.flush()


def _read(path: str, variable: str | None) -> Answer:
    """SciPy meets a damaged file with almost any exception, so all are taken for that."""
    from scipy.io import loadmat, whosmat

    try:
        _limit_memory(MEMORY + MEMORY_PER_BYTE * os.path.getsize(path))
        if variable is None:
            return Answer(tuple(name for name, _, _ in whosmat(path)))
        return Answer(loadmat(path, variable_names=[variable], simplify_cells=True)[variable])
    except Exception as error:
        return Answer(None, str(error) or repr(error), isinstance(error, NotImplementedError))


def _limit_memory(most: int) -> None:
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        within = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (within, hard))

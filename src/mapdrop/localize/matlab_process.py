"""Run SciPy's reader of MATLAB files in a separate process.

The reader is compiled code. Some damaged files crash it and the interpreter, others keep it busy
until memory is full. In a child process this ends only the child, and the file is reported as
damaged.
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
"""Limits of a request. A compressed file's lists are far larger than the file: MPII's 12 MB may
take 13 minutes and 7 GB. One wrong byte in a file of 17 kB took 71 seconds and 9.6 GB."""


class UnreadableError(Exception):
    """Raised when SciPy can't read the file."""


class VersionError(UnreadableError):
    """Raised for a file of version 7.3, which is HDF5."""


class Response(NamedTuple):
    """The child's response: a value, or the problem."""

    value: Any = None
    problem: str | None = None
    is_hdf5: bool = False


def names(path: Path) -> tuple[str, ...]:
    """Return the names of a file's variables.

    Raises:
        UnreadableError: when it is damaged.
    """
    found: tuple[str, ...] = _READER.read(path, None)
    return found


def load(path: Path, variable: str) -> Any:
    """Return one variable: a struct as a dict, a struct array as a list of them.

    Raises:
        UnreadableError: when the file is damaged.
    """
    return _READER.read(path, variable)


class _Reader:
    """The child process, started on demand and restarted after a crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def read(self, path: Path, variable: str | None) -> Any:
        with self._lock:
            response = self._exchange(os.path.abspath(path), variable)
        if response.problem is None:
            return response.value
        raise (VersionError if response.is_hdf5 else UnreadableError)(response.problem)

    def _exchange(self, path: str, variable: str | None) -> Response:
        if self._process is None:
            self._process = _start()
        megabytes = os.path.getsize(path) / 1e6
        timer = Timer(SECONDS + SECONDS_PER_MB * megabytes, self._process.kill)
        timer.start()
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            pickle.dump((path, variable), self._process.stdin)
            self._process.stdin.flush()
            return Response(*pickle.load(self._process.stdout))
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
            return Response(problem="it crashed the reader, or took too long to read")
        finally:
            timer.cancel()

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(BrokenPipeError), process:  # Close the pipes and wait.
                pass


_READER = _Reader()
atexit.register(_READER.close)


def _start() -> subprocess.Popen[bytes]:
    """Start a child with this process's import path, except for the working folder."""
    # Threads of linear algebra would reserve memory, and are not needed.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    code = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
        f"from {__name__} import serve; serve()"
    )
    paths = json.dumps([path for path in sys.path if path])
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def serve() -> None:
    """Serve requests in the child until the parent closes the pipe."""
    warnings.simplefilter("ignore")
    # The parent reads responses from stdout, so whatever a library prints goes to stderr.
    responses = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            path, variable = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(tuple(_read(path, variable)), responses)
        responses.flush()


def _read(path: str, variable: str | None) -> Response:
    """Read in the child. SciPy raises almost any exception for a damaged file, so catch all."""
    from scipy.io import loadmat, whosmat

    try:
        _limit_memory(MEMORY + MEMORY_PER_BYTE * os.path.getsize(path))
        if variable is None:
            return Response(tuple(name for name, _, _ in whosmat(path)))
        return Response(loadmat(path, variable_names=[variable], simplify_cells=True)[variable])
    except Exception as error:
        return Response(None, str(error) or repr(error), isinstance(error, NotImplementedError))


def _limit_memory(limit: int) -> None:
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

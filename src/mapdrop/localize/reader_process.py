"""Read files with compiled libraries in a separate process.

Some damaged files crash SciPy's reader of MATLAB files, or HDF5, and the interpreter; others keep
them busy until memory is full, or for ever. In a child process this ends only the child, and the
file is reported as damaged.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Lock, Timer
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

SECONDS, SECONDS_PER_MB = 60.0, 60.0
MEMORY, MEMORY_PER_BYTE = 1 << 30, 500
"""Limits of a request. A compressed file's lists are far larger than the file: MPII's 12 MB may
take 13 minutes and 7 GB. One wrong byte in a file of 17 kB took 71 seconds and 9.6 GB."""

P = ParamSpec("P")
T = TypeVar("T")


class UnreadableError(Exception):
    """Raised when a file can't be read.

    Attributes:
        kind: the name of the library's exception; empty when there was none.
    """

    def __init__(self, problem: str, kind: str = "") -> None:
        super().__init__(problem)
        self.kind = kind


class Response(NamedTuple):
    """The child's response: a value, or the problem and its exception's name."""

    value: Any = None
    problem: str | None = None
    kind: str = ""


def call(
    function: Callable[Concatenate[Path, P], T], path: Path, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return what a function makes of a file, in the child process.

    Args:
        function: a module's own; it returns plain values and arrays.
        path: the file, its first argument.
        args: its other arguments, plain values.
        kwargs: as args.

    Raises:
        UnreadableError: when it raises, crashes, or takes too long.
    """
    found: T = _READER.call(function, path, *args, **kwargs)
    return found


class _Reader:
    """The child process, started on demand and restarted after a crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def call(self, function: Callable[..., Any], path: Path, *args: Any, **kwargs: Any) -> Any:
        name = function.__module__, function.__qualname__
        with self._lock:
            response = self._exchange(os.path.abspath(path), (name, args, kwargs))
        if response.problem is None:
            return response.value
        raise UnreadableError(response.problem, response.kind)

    def _exchange(self, path: str, request: object) -> Response:
        if self._process is None:
            self._process = _start()
        megabytes = os.path.getsize(path) / 1e6
        timer = Timer(SECONDS + SECONDS_PER_MB * megabytes, self._process.kill)
        timer.start()
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            pickle.dump((path, request), self._process.stdin)
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
            path, request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(tuple(_read(path, *request)), responses)
        responses.flush()


def _read(path: str, name: tuple[str, str], args: Any, kwargs: Any) -> Response:
    """Read in the child. Libraries raise almost anything for a damaged file, so catch all."""
    try:
        function = getattr(import_module(name[0]), name[1])
        _limit_memory(MEMORY + MEMORY_PER_BYTE * os.path.getsize(path))
        return Response(function(Path(path), *args, **kwargs))
    except Exception as error:
        return Response(None, str(error) or repr(error), type(error).__name__)


def _limit_memory(limit: int) -> None:
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

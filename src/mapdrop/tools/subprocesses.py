"""Run each framework in a process of its own, so that a crash is a row and not the end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from signal import Signals
from typing import IO, Any

from mapdrop.system.printable import printable
from mapdrop.tools.installed import Installed

Message = dict[str, Any]
Send = Callable[[str, Any], None]
"""Sends {kind: content} from the process to the one that started it."""

LIMIT = 900.0  # Seconds for one framework: a driver that hangs shall not hang the command.


class EndedError(RuntimeError):
    """The process failed. The message says how, and what it printed last."""


def messages(framework: Installed, worker: str, *arguments: object) -> Iterator[Message]:
    """Call `main` of the module `worker` with these arguments, and yield its messages as they come.

    Raises:
        EndedError: after the last message, when the process died or took too long.
    """
    with (
        tempfile.TemporaryFile() as errors,
        _start(framework, worker, arguments, errors) as process,
    ):
        overdue = threading.Timer(LIMIT, process.kill)
        overdue.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if (message := _message(line)) is not None:
                    yield message
            code = process.wait()
        finally:
            late = not overdue.is_alive()
            overdue.cancel()
            process.kill()
        if code != 0:
            ending = f"killed after {LIMIT:.0f} seconds" if late else _ending(code)
            raise EndedError(f"{ending}; {_last_words(errors)}")


@contextmanager
def sender() -> Iterator[Send]:
    """Open the worker's end, which sends messages to the process that started it.

    What a framework prints must not come between: its standard output becomes standard error.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def send(kind: str, content: Any) -> None:
            print(json.dumps({kind: content}), file=out, flush=True)

        yield send


def one_line(problem: Exception) -> str:
    """Return the exception in one line, without a terminal's colours."""
    return f"{type(problem).__name__}: {_joined(str(problem))}"[:300]


def _start(
    framework: Installed, worker: str, arguments: tuple[object, ...], errors: IO[bytes]
) -> subprocess.Popen[str]:
    # With the path of this process: what was found here is what is imported there.
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; from {worker} import main; main(*{arguments!r})"
    )
    environment = {
        # Without these, JAX and TensorFlow take most of a GPU's memory, which others may be using.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        **os.environ,
        **({"KERAS_BACKEND": framework.runs_on} if framework.runs_on else {}),
    }
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def _message(line: str) -> Message | None:
    """Return the worker's message, or None where something else was printed before it began."""
    with suppress(ValueError):
        found = json.loads(line)
        return found if isinstance(found, dict) else None
    return None


def _joined(text: str) -> str:
    """Return foreign text in one line, without a terminal's colours and commands."""
    return printable(" ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split()))


def _ending(code: int) -> str:
    if code < 0:
        known = {signal.value: signal.name for signal in Signals}
        return f"the process died of {known.get(-code, f'signal {-code}')}"
    return f"the process ended with exit code {code}"


def _last_words(errors: IO[bytes]) -> str:
    """Return the last line that the process wrote to its standard error."""
    errors.seek(0)
    lines = map(_joined, errors.read().decode(errors="replace").splitlines())
    said = next((line for line in reversed(list(lines)) if line), "")
    return f"its last words: {said[:300]}" if said else "it said nothing"

"""A process for each framework, so that one that crashes is a row and not the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

from mapdrop.check.frameworks import Framework
from mapdrop.check.rows import FAILED, Row

LIMIT = 900.0  # Seconds for one framework: a driver that hangs shall not hang the command.


def check(framework: Framework, quick: bool, doing: Callable[[str], None]) -> Iterator[Row]:
    """The framework's rows, as they come; `doing` is told what is being worked on."""
    now = ""
    with tempfile.TemporaryFile() as errors, _start(framework, quick, errors) as process:
        overdue = threading.Timer(LIMIT, process.kill)
        overdue.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                message: dict[str, Any] = json.loads(line)
                if "doing" in message:
                    now = message["doing"]
                    doing(f"{framework.name}: {now}")
                else:
                    yield _row(message["row"])
                    now = "ending"
            code = process.wait()
        finally:
            late = not overdue.is_alive()
            overdue.cancel()
            process.kill()
        if code != 0:
            ending = f"killed after {LIMIT:.0f} seconds" if late else _ending(code)
            reason = f"{now}: {ending}; {_last_words(errors)}"
            yield Row(framework.name, status=FAILED, reason=reason)


def _start(framework: Framework, quick: bool, errors: IO[bytes]) -> subprocess.Popen[str]:
    # With the path of this process: what was found here is what is imported there.
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; from mapdrop.check.worker import main; "
        f"main({framework.name!r}, {framework.module!r}, {quick!r})"
    )
    environment = {
        # Without these, JAX and TensorFlow take most of a GPU's memory, which others may be using.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        **os.environ,
        **({"KERAS_BACKEND": framework.backend} if framework.backend else {}),
    }
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment,
        text=True, encoding="utf-8",
    )  # fmt: skip


def _row(content: dict[str, Any]) -> Row:
    content["vectors"], content["values"] = map(tuple, (content["vectors"], content["values"]))
    return Row(**content)


def _ending(code: int) -> str:
    if code < 0:
        return f"the process died of {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def _last_words(errors: IO[bytes]) -> str:
    """The last line of what the process wrote to its standard error."""
    errors.seek(0)
    lines = [line.strip() for line in errors.read().decode(errors="replace").splitlines()]
    said = next((line for line in reversed(lines) if line), "")
    return f"its last words: {said[:300]}" if said else "it said nothing"

"""The live page's scripts in Node: one process, which answers line by line."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIVE = HERE.parents[2] / "docs" / "live"


class JavaScriptError(Exception):
    """What the scripts throw where Python raises: the name of Python's class, and the message."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name, message)
        self.name, self.message = name, message


class Node:
    """A process of Node with the scripts of a folder."""

    def __init__(self, program: str, folder: Path = LIVE) -> None:
        self._process = subprocess.Popen(
            [program, str(HERE / "runner.js"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def ask(self, call: str, given: Any = None) -> Any:
        """Return the answer to one of `runner.js`'s questions. Raises JavaScriptError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": call, "with": _written(given)}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"Node ended at {call} with {given!r}"
        answer = json.loads(line)
        assert "fault" not in answer, answer["fault"]
        if "error" in answer:
            raise JavaScriptError(*answer["error"])
        return answer.get("value")

    def close(self) -> None:
        """End the process."""
        with self._process as process:
            if process.stdin is not None:
                process.stdin.close()


def _written(value: Any) -> Any:
    """Return what JSON can carry, with ints and floats told apart as far as JavaScript does."""
    if isinstance(value, Mapping):
        return {name: _written(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_written(one) for one in value]
    if type(value) is int:
        return {"int": str(value)}
    if type(value) is float and not math.isfinite(value):
        return {"float": str(value)}
    return value


def options(pattern: Any, shape: Any, p: Any, **given: Any) -> dict[str, Any]:
    """Return Python's arguments as JavaScript has them: sizes are no keywords there."""
    known = ("seed", "stream", "step", "exact", "balance", "block", "region", "scale")
    made = {name: given[name] for name in known if name in given}
    sizes = {name: size for name, size in given.items() if name not in known}
    return {"pattern": pattern, "shape": shape, "p": p, **made, "sizes": sizes}


def spoil(folder: Path, script: str, text: str, instead: str) -> None:
    """Copy the page to a folder, with a fault in one of its scripts."""
    shutil.copytree(LIVE, folder, dirs_exist_ok=True)
    whole = (folder / script).read_text("utf-8")
    assert text in whole, f"{text!r} is not in {script}"
    (folder / script).write_text(whole.replace(text, instead, 1), "utf-8")


@contextmanager
def spoiled(program: str, folder: Path, script: str, text: str, instead: str) -> Iterator[Node]:
    """Give a Node with a fault in one of its scripts."""
    spoil(folder, script, text, instead)
    made = Node(program, folder)
    try:
        yield made
    finally:
        made.close()

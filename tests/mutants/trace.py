"""What is remembered of a run of the tests without any mutant: which lines each runs."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.mutants.parts import SOURCE, Part


def remembered(part: Part, measure: Callable[[], Any]) -> Any:
    """Return what was measured of the same sources and tests before, or measure it."""
    digest = _digest(part)
    file = Path("build/mutants") / f"{part.name}-tests.json"
    if file.exists():
        known, answer = json.loads(file.read_text(encoding="utf-8"))
        if known == digest:
            return answer
    answer = measure()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([digest, answer]), encoding="utf-8")
    return answer


def _digest(part: Part) -> str:
    folders = {Path(test).parent if test.endswith(".py") else Path(test) for test in part.tests}
    tests = [path for folder in (Path("tests"), *folders) for path in folder.glob("*.py")]
    paths = sorted({*SOURCE.rglob("*.py"), *tests})
    content = b"".join(path.read_bytes() for path in paths)
    return hashlib.blake2b(repr(part).encode() + content).hexdigest()


class Trace:
    """Records which lines of some files run, but for those that run at import."""

    def __init__(self, paths: dict[str, str]) -> None:
        self.paths, self.lines = paths, set[str]()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        file = self.paths.get(frame.f_code.co_filename)
        return None if file is None else functools.partial(self._line, file)

    def _line(self, file: str, frame: FrameType, event: str, argument: Any) -> Any:
        self.lines.add(f"{file}:{frame.f_lineno}")
        return functools.partial(self._line, file)

"""The process that one framework is checked in: it writes a row for each way, as a line of JSON."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from mapdrop.check.cases import large, values, vectors
from mapdrop.check.compare import compare
from mapdrop.check.rows import FAILED, UNAVAILABLE, Row
from mapdrop.check.ways.way import UnavailableError, Way


def main(framework: str, module: str, quick: bool) -> None:
    """Check the framework by a module of `mapdrop.check.ways`."""
    # What a framework prints must not come between the rows: its standard output is an error's.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def say(kind: str, content: Any) -> None:
            print(json.dumps({kind: content}), file=out, flush=True)

        say("doing", "importing")
        try:
            here = importlib.import_module(f"mapdrop.check.ways.{module}")
            check(framework, here.ways(), here.versions(), quick, say)
        except Exception as problem:  # Foreign code fails in every way there is.
            say("row", asdict(Row(framework, status=FAILED, reason=_words(problem))))


def check(
    framework: str,
    ways: Any,
    versions: dict[str, str],
    quick: bool,
    say: Callable[[str, Any], None],
) -> None:
    """Say a row for each way, whatever becomes of it."""
    timed = large()
    cases = [*vectors(), *values(), timed]
    for way in ways:
        say("doing", f"{way.device} {way.mode}")
        try:
            row = compare(way, cases, timed, quick)
        except UnavailableError as problem:
            row = _without(way, UNAVAILABLE, str(problem))
        except Exception as problem:
            row = _without(way, FAILED, _words(problem))
        say("row", asdict(replace(row, framework=framework, versions=versions)))


def _without(way: Way, status: str, reason: str) -> Row:
    return Row("", way.device, way.device_name, way.mode, status, reason=reason)


def _words(problem: Exception) -> str:
    """The exception in one line, without a terminal's colours."""
    plain = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(problem)).split())
    return f"{type(problem).__name__}: {plain}"[:300]

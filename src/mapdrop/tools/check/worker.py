"""The process that one framework is checked in: it writes a row for each way, as a line of JSON."""

from __future__ import annotations

import importlib
from dataclasses import asdict, replace
from typing import Any

from mapdrop.tools.check.cases import large, values, vectors
from mapdrop.tools.check.compare import compare
from mapdrop.tools.check.rows import FAILED, UNAVAILABLE, Row
from mapdrop.tools.check.ways.way import UnavailableError, Way
from mapdrop.tools.subprocesses import Say, saying, words


def main(framework: str, module: str, quick: bool) -> None:
    """Check the framework by a module of `mapdrop.tools.check.ways`."""
    with saying() as say:
        say("doing", "importing")
        try:
            here = importlib.import_module(f"mapdrop.tools.check.ways.{module}")
            check(framework, here.ways(), here.versions(), quick, say)
        except Exception as problem:  # Foreign code fails in every way there is.
            say("row", asdict(Row(framework, status=FAILED, reason=words(problem))))


def check(
    framework: str,
    ways: Any,
    versions: dict[str, str],
    quick: bool,
    say: Say,
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
            row = _without(way, FAILED, words(problem))
        say("row", asdict(replace(row, framework=framework, versions=versions)))


def _without(way: Way, status: str, reason: str) -> Row:
    return Row("", way.device, way.device_name, way.mode, status, reason=reason)

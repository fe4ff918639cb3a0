"""The process that one framework is timed in: it says a row for each case."""

from __future__ import annotations

import importlib

from mapdrop.tools.bench.environment import environment
from mapdrop.tools.bench.measure import measured
from mapdrop.tools.subprocesses import saying, words


def main(module: str, quick: bool, word: str, seconds: float) -> None:
    """Time the cases of `mapdrop.tools.bench.ways.<module>` that have the word in their names."""
    with saying() as say:
        say("doing", "importing")
        way = importlib.import_module(f"mapdrop.tools.bench.ways.{module}")
        cases = [c for c in way.cases() if word in c.name and (c.quick or not quick)]
        say("cases", len(cases))
        where = environment(way.versions())
        for case in cases:
            say("doing", case.name)
            try:
                row = measured(case, way.works(case), seconds)
            except Exception as problem:  # A peer fails in every way there is; the rest goes on.
                say("failed", f"{case.name}: {words(problem)}")
            else:
                say("row", row | where)

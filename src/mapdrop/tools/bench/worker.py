"""The process that one framework is timed in: it sends a row for each case."""

from __future__ import annotations

from mapdrop.tools.adapters import adapter_class
from mapdrop.tools.bench.cases import cases
from mapdrop.tools.bench.comparison import comparison
from mapdrop.tools.bench.environment import environment, layer_versions
from mapdrop.tools.bench.measure import measure
from mapdrop.tools.subprocesses import one_line, sender


def main(name: str, quick: bool, word: str, seconds: float) -> None:
    """Time the framework's cases that have the word in their names."""
    with sender() as send:
        send("doing", "importing")
        adapters = adapter_class(name)
        chosen = [c for c in cases(name, adapters) if word in c.name and (c.quick or not quick)]
        send("cases", len(chosen))
        versions = adapters.versions() | layer_versions(name) | adapters.hardware()
        where = environment(versions)
        for case in chosen:
            send("doing", case.name)
            try:
                row = measure(case, comparison(adapters, case), seconds)
            except Exception as problem:  # A peer fails in every way there is; the rest goes on.
                send("failed", f"{case.name}: {one_line(problem)}")
            else:
                send("row", row | where)

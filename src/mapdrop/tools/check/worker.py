"""The process that one framework is checked in: it sends a row for each device and mode."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace

from mapdrop.tools.adapters import adapter_class
from mapdrop.tools.adapters.adapter import Adapter, UnavailableError
from mapdrop.tools.check.cases import large, values, vectors
from mapdrop.tools.check.compare import compare
from mapdrop.tools.check.rows import FAILED, UNAVAILABLE, Row
from mapdrop.tools.subprocesses import Send, one_line, sender


def main(title: str, name: str, quick: bool) -> None:
    """Check the framework by its adapter."""
    with sender() as send:
        send("doing", "importing")
        try:
            adapters = adapter_class(name)
            check(title, adapters.found(), adapters.versions(), quick, send)
        except Exception as problem:  # Foreign code fails in every way there is.
            send("row", asdict(Row(title, status=FAILED, reason=one_line(problem))))


def check(
    title: str, adapters: Iterable[Adapter], versions: dict[str, str], quick: bool, send: Send
) -> None:
    """Send a row for each device and mode, whatever becomes of it."""
    timed = large()
    cases = [*vectors(), *values(), timed]
    for adapter in adapters:
        for mode in adapter.modes:
            send("doing", f"{adapter.device} {mode}")
            try:
                row = compare(adapter, mode, cases, timed, quick)
            except UnavailableError as problem:
                row = _without(adapter, mode, UNAVAILABLE, str(problem))
            except Exception as problem:
                row = _without(adapter, mode, FAILED, one_line(problem))
            send("row", asdict(replace(row, framework=title, versions=versions)))


def _without(adapter: Adapter, mode: str, status: str, reason: str) -> Row:
    return Row("", adapter.device, adapter.device_name, mode, status, reason=reason)

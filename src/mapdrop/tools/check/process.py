"""Check one framework in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mapdrop.tools.check.rows import FAILED, Row
from mapdrop.tools.installed import Installed
from mapdrop.tools.subprocesses import EndedError, messages


def check(framework: Installed, quick: bool, doing: Callable[[str], None]) -> Iterator[Row]:
    """Yield the framework's rows as they come; `doing` is called with what is being worked on."""
    now = ""
    arguments = framework.title, framework.name, quick
    try:
        for message in messages(framework, "mapdrop.tools.check.worker", *arguments):
            if "doing" in message:
                now = message["doing"]
                doing(f"{framework.title}: {now}")
            else:
                yield _row(message["row"])
                now = "ending"
    except EndedError as problem:
        yield Row(framework.title, status=FAILED, reason=f"{now}: {problem}")


def _row(content: dict[str, Any]) -> Row:
    content["vectors"], content["values"] = map(tuple, (content["vectors"], content["values"]))
    return Row(**content)

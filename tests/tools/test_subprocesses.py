"""Processes of frameworks: whatever they print, and however they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapdrop.tools.installed import Installed
from mapdrop.tools.subprocesses import EndedError, Message, messages, one_line

ENDINGS = {
    "a signal without a name": (
        "os.kill(os.getpid(), 40)",
        "the process died of signal 40; it said nothing",
    ),
    "a signal": (
        "os.kill(os.getpid(), signal.SIGKILL)",
        "the process died of SIGKILL; it said nothing",
    ),
    "an escape sequence": (
        r"sys.stderr.write('one\n\x1b[31mtwo\x1b]0;title\x07\n'); sys.exit(3)",
        r"the process ended with exit code 3; its last words: two\x1b]0;title\x07",
    ),
    "no UTF-8": (
        r"sys.stderr.buffer.write(b'caf\xe9'); sys.exit(3)",
        "the process ended with exit code 3; its last words: caf\ufffd",
    ),
}


def said(body: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Message], str]:
    """What a worker with this body says, and how it ends."""
    (folder / "some_worker.py").write_text(
        "import os, signal, sys\n"
        f"def main():\n    {body}\n"
    )  # fmt: skip
    monkeypatch.syspath_prepend(folder)
    heard = []
    try:
        for message in messages(Installed("some", "some"), "some_worker"):
            heard.append(message)
    except EndedError as problem:
        return heard, str(problem)
    return heard, ""


@pytest.mark.parametrize(("body", "ending"), ENDINGS.values(), ids=ENDINGS)
def test_how_a_process_ended(
    body: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(body, tmp_path, monkeypatch) == ([], ending)


def test_what_is_printed_between_is_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = r"""sys.stdout.buffer.write(b'loading\n3\n{"row": 1}\n[\xff\n\n{"row": 2}')"""
    assert said(body, tmp_path, monkeypatch) == ([{"row": 1}, {"row": 2}], "")


def test_a_problem_in_one_line() -> None:
    problem = ValueError("one\n  \x1b[31mtwo\x1b[0m\x1b[2J\x07")
    assert one_line(problem) == r"ValueError: one two\x1b[2J\x07"

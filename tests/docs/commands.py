"""The commands that a page names, and a check of each: by its own parser, without running it."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import typer

from tests.docs.pages import ROOT

_START = r"(?:(?:\.venv/bin/)?(?:mapdrop|pip|make|python|pytest|pre-commit|torchrun)\b)"
_FENCE = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)


def named(text: str) -> Iterator[str]:
    """Yield every command of a page: in blocks `shell`, in indented lines, between backquotes."""
    for _, kind, source in _FENCE.findall(text):
        if kind == "shell":
            yield from re.sub(r"\\\n", " ", source).splitlines()
    prose = _FENCE.sub("", text)
    for block in indented(text):
        yield from block.splitlines()
    prose = re.sub("^#.*$", "", prose, flags=re.MULTILINE)  # Headings quote messages.
    for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose):
        code = " ".join(code.split())
        if re.match(rf"{_START} [^=]|--\w", code):
            yield code


def indented(text: str) -> list[str]:
    """Return the indented blocks, which are commands; not what belongs to a list or an admonition.

    >>> indented("They are:\\n\\n    mapdrop check\\n\\n- One.\\n\\n    Still in the list.\\n")
    ['    mapdrop check\\n']
    """
    prose = re.sub(r"<!--.*?-->", "", _FENCE.sub("", text), flags=re.DOTALL)
    found = []
    pattern = r"^(\S.*)\n(?:.+\n)*\n((?: {4}.*\n|\n(?= {4}))+)"
    for above, block in re.findall(pattern, prose, re.MULTILINE):
        if not re.match(r"([-*]|\d+\.|!!!|\?\?\?|===) ", above):
            found.append(block)
    return found


def check(line: str) -> None:
    """Raise an error where a command, an option, a target, a module or a file is not there."""
    name, *arguments = words(line) or ["#"]
    if name.startswith("--"):
        assert name.partition("=")[0] in _options(), f"no command has {name}"
    elif name != "#":
        assert name in _CHECKS, f"nothing checks {line!r}"
        _CHECKS[name](arguments)


def words(line: str) -> list[str]:
    """Return the words of a command, without its comment; `N` stands for some number."""
    found = shlex.split(line.strip().removeprefix(".venv/bin/"), comments=True)
    return ["9" if word == "N" else word for word in found]


def _mapdrop(arguments: list[str]) -> None:
    _parse(_silent("mapdrop.cli"), arguments)


def _parse(command: Any, arguments: list[str]) -> None:
    try:
        command.main(arguments, standalone_mode=False)
    except Exception as problem:
        raise AssertionError(f"{shlex.join(arguments)}: {problem}") from problem


@cache
def _silent(module: str) -> Any:
    """Return the command of a module's `app`; it parses, and then does nothing."""
    command = typer.main.get_command(import_module(module).app)
    for each in _commands(command):
        each.callback = None
        each.no_args_is_help, each.invoke_without_command = False, True
        for parameter in each.params:
            parameter.required = False  # In prose a command may stand for itself.
    return command


def _commands(command: Any) -> Iterator[Any]:
    yield command
    for each in getattr(command, "commands", {}).values():
        yield from _commands(each)


@cache
def _options() -> set[str]:
    """Return the options of all commands."""
    return {
        option
        for module in ("mapdrop.cli", "experiments.__main__")
        for command in _commands(_silent(module))
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help"}


def _make(arguments: list[str]) -> None:
    done = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _pip(arguments: list[str]) -> None:
    """Check the extras: `pip install "mapdrop[torch]"`."""
    assert arguments[0] == "install"
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    _, _, extras_of = project.partition("[project.optional-dependencies]")
    known = re.findall(r"^(\w+) = \[", extras_of.partition("\n[")[0], re.MULTILINE)
    for extras in re.findall(r"\[(.*?)\]", shlex.join(arguments)):
        unknown = set(extras.split(",")) - set(known)
        assert not unknown, f"there is no extra {', '.join(unknown)}"


def _python(arguments: list[str]) -> None:
    assert arguments[0] == "-m"
    module, *rest = arguments[1:]
    assert find_spec(module), f"there is no module {module}"
    if module in ("mapdrop", "experiments"):
        _parse(_silent({"mapdrop": "mapdrop.cli"}.get(module, f"{module}.__main__")), rest)


def _torchrun(arguments: list[str]) -> None:
    _python(arguments[arguments.index("-m") :])


def _pytest(arguments: list[str]) -> None:
    for path in arguments:
        assert path.startswith("-") or (ROOT / path.split("::")[0]).exists(), f"no {path}"


_CHECKS: dict[str, Callable[[list[str]], None]] = {
    "mapdrop": _mapdrop,
    "make": _make,
    "pip": _pip,
    "python": _python,
    "torchrun": _torchrun,
    "pytest": _pytest,
    "pre-commit": lambda arguments: None,
}

"""Docstrings of public names: a verb first, each argument, and each error that is raised."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import framework
from tests.docs.test_docstrings import PUBLIC

PAGES = Path(__file__).parents[3] / "docs" / "api"
VERBS = frozenset(
    {
        "Audit",
        "Draw",
        "Drop",
        "End",
        "Give",
        "Hold",
        "Let",
        "Load",
        "Make",
        "Name",
        "Predict",
        "Read",
    }
    | {"Begin", "Continue", "Do", "Remove", "Replace", "Report", "Return", "Save", "Say", "Set"}
    | {"Take", "Write"}
)


def section(text: str, *titles: str) -> set[str]:
    """The names that sections of a docstring have something to say of."""
    names: set[str] = set()
    for title in titles:
        for body in re.findall(rf"^{title}:\n((?: .*\n|\n)+)", text + "\n", re.M):
            names.update(re.findall(r"^    \*{0,2}(\w+): ", body, re.M))
    return names


def arguments(thing: Any) -> set[str]:
    """Those of a function, or of what makes an object of a class."""
    # Of `__init__`, for Flax' classes hide what they are made from.
    made = thing.__init__ if inspect.isclass(thing) else thing
    return set(inspect.signature(made).parameters) - {"self"}


def source(thing: Any) -> Path:
    """The file of a function or class, wherever its users find it.

    That of a method, for a class may say another; what a dataclass made has none.
    """
    own = (
        [f for f in vars(thing).values() if inspect.isfunction(f)] if inspect.isclass(thing) else []
    )
    here = [f for f in map(inspect.unwrap, own) if f.__code__.co_filename != "<string>"]
    return Path(inspect.getfile(here[0] if here else inspect.unwrap(thing)))


def written(thing: Any) -> str:
    """The docstring of a class, as tools read it that run nothing."""
    module = ast.parse(source(thing).read_text(encoding="utf-8"))
    (kind,) = (n for n in module.body if isinstance(n, ast.ClassDef) and n.name == thing.__name__)
    return ast.get_docstring(kind) or ""


def raised(thing: Any) -> set[str]:
    """The errors that a function or class raises itself, or by functions of its own module."""
    made = inspect.unwrap(thing.__init__ if inspect.isclass(thing) else thing)
    if made.__code__.co_filename == "<string>":  # Of a dataclass.
        return set()
    module = ast.parse(Path(inspect.getfile(made)).read_text(encoding="utf-8"))
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(made))).body
    return {name for name in _raised(node, functions, set()) if _is_for_users(name)}


def _raised(node: ast.AST, functions: dict[str, ast.FunctionDef], seen: set[str]) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Raise) and isinstance(part.exc, ast.Call):
            yield ast.unparse(part.exc.func)
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            name = part.func.id
            if name in functions and name not in seen:
                seen.add(name)
                yield from _raised(functions[name], functions, seen)


def _is_for_users(name: str) -> bool:
    return hasattr(builtins, name) or name == "PatternError"


def check_sections(thing: Any) -> None:
    text = inspect.getdoc(thing) or ""
    assert re.split(r"\W", text)[0] in VERBS, text[:60]
    assert section(text, "Args", "Attributes") >= arguments(thing)
    assert section(text, "Args") <= arguments(thing)
    assert section(text, "Raises") >= raised(thing)


def members() -> dict[str, tuple[str, str, str]]:
    """The methods that the pages show, by their names, with module and class."""
    found = {}
    for page in sorted(PAGES.glob("*.md")):
        shown = re.findall(
            r"^::: (\S+)\.(\w+)\n    options:\n      members: \[(.*)\]$", page.read_text(), re.M
        )
        for module, name, methods in shown:
            for method in methods.split(", "):
                found[f"{module}.{name}.{method}"] = (module, name, method)
    return found


@pytest.mark.parametrize(("module", "name"), PUBLIC.values(), ids=PUBLIC)
def test_public_name(module: str, name: str) -> None:
    framework(module.split(".")[1] if "." in module and module != "mapdrop.rates" else "numpy")
    thing = getattr(importlib.import_module(module), name)
    check_sections(thing)
    if inspect.isclass(thing):  # Tools that run nothing see the same.
        assert written(thing) == inspect.getdoc(thing)


@pytest.mark.parametrize(("module", "name", "method"), members().values(), ids=members())
def test_method(module: str, name: str, method: str) -> None:
    framework(module.split(".")[1] if "." in module else "numpy")
    kind = getattr(importlib.import_module(module), name)
    thing = inspect.getattr_static(kind, method)
    if isinstance(thing, (property, staticmethod)):
        thing = thing.fget if isinstance(thing, property) else thing.__func__
        assert inspect.getdoc(thing)
    if not isinstance(inspect.getattr_static(kind, method), property):
        check_sections(thing)


def test_methods_are_found() -> None:
    assert len(members()) > 20


class _Computed:
    """Hold nothing."""

    __doc__ = f"{__doc__} This is added when the module runs."


def test_static_twin() -> None:
    assert written(_Computed) != inspect.getdoc(_Computed)


def _good(one: int, *more: int) -> int:
    """Return one.

    Args:
        one: a number.
        *more: others.

    Raises:
        ValueError: for others.
    """
    _refuse(more)
    return one


def _refuse(more: tuple[int, ...]) -> None:
    if more:
        raise ValueError("others")


def test_good() -> None:
    check_sections(_good)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Return one", "The one"),
        ("one: a number", "a number"),
        ("one: a number", "one: a number.\n        two: another"),
        ("ValueError: for", "For"),
        ("ValueError: for", "TypeError: for"),
    ],
)
def test_twin(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = _good.__doc__ or ""
    assert old in text
    monkeypatch.setattr(_good, "__doc__", text.replace(old, new, 1))
    with pytest.raises(AssertionError):
        check_sections(_good)

"""Mutants: a file's source with one change."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes

from tests.mutants.operators import IDLE, OPERATORS
from tests.mutants.parts import SOURCE


@dataclass(frozen=True)
class Mutant:
    """One change. What it is known by has no line numbers, so that other edits leave it the same.

    Attributes:
        file: below `SOURCE`.
        function: in which it lies, as "Class.method"; empty in a module's own lines.
        before, after: the changed lines, without what stands around them.
        nth: which one, where a function has several that read alike.
        source: the whole file with the change.
        lines: of the statement, in the file as it is.
    """

    file: str
    function: str
    before: str
    after: str
    nth: int = 1
    source: str = field(default="", compare=False, repr=False)
    lines: range = field(default=range(0), compare=False, repr=False)


def mutants_of(file: str, root: Path = SOURCE) -> list[Mutant]:
    """Return all mutants of a file, each source once."""
    text = (root / file).read_text(encoding="utf-8")
    real = ast.parse(text)
    found, seen, alike = [], {_spelling(text)}, Counter[Mutant]()
    for source, line in _changes(text):
        if _spelling(source) in seen or not _is_program(source):
            continue
        seen.add(_spelling(source))
        before, after = _difference(text, source)
        mutant = Mutant(file, _function(real, line), before, after)
        alike[mutant] += 1
        lines = _statement(real, line)
        found.append(replace(mutant, nth=alike[mutant], source=source, lines=lines))
    return found


def _spelling(source: str) -> str:
    return "".join(source.split())


def _is_program(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _changes(text: str) -> Iterator[tuple[str, int]]:
    """Yield each changed source, and the line where the change is."""
    starts = [0, *accumulate(map(len, text.splitlines(keepends=True)))]
    nodes = list(ast_nodes(parso.parse(text)))
    for operator in OPERATORS:
        for node in nodes:
            for index, ((line, _), _) in enumerate(operator.mutation_positions(node)):
                if not _idle(node):
                    # A copy of the node alone: its parent stays the tree's.
                    copied = copy.deepcopy(node, {id(node.parent): node.parent})
                    changed = operator.mutate(copied, index)
                    (row, column), (last, end) = node.get_start_pos_of_prefix(), node.end_pos
                    head, tail = text[: starts[row - 1] + column], text[starts[last - 1] + end :]
                    yield head + ("" if changed is None else changed.get_code()) + tail, line


def _idle(node: Any) -> bool:
    """Return whether a change here can do nothing: annotations, and what only asserts."""
    child, parent = node, node.parent
    if node.type == "assert_stmt":
        return True
    while parent is not None:
        annotation = {
            "annassign": parent.children[1],
            "tfpdef": parent.children[-1],
            "funcdef": getattr(parent, "annotation", None),
        }.get(parent.type)
        idle = parent.type == "argument" and parent.children[0].get_code().strip() in IDLE
        if idle or parent.type == "assert_stmt" or child is annotation:
            return True
        child, parent = parent, parent.parent
    return False


def _difference(text: str, source: str) -> tuple[str, str]:
    old, new = ([line.strip() for line in part.splitlines()] for part in (text, source))
    while old and new and old[-1] == new[-1]:
        old.pop(), new.pop()
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), len(new))
    return " ".join(old[same:]).strip(), " ".join(new[same:]).strip()


def _function(tree: ast.Module, line: int) -> str:
    names = []
    for node in ast.walk(tree):
        scope = isinstance(node, (ast.FunctionDef, ast.ClassDef))
        if scope and node.lineno <= line <= (node.end_lineno or 0):  # type: ignore[attr-defined]
            names.append(node.name)  # type: ignore[attr-defined]
    return ".".join(names)


def _statement(tree: ast.Module, line: int) -> range:
    """Return the lines of the innermost statement, without those of its body."""
    found = range(line, line + 1)
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            body = getattr(node, "body", None)
            stop = body[0].lineno if body else (node.end_lineno or 0) + 1
            if line < stop:
                found = range(node.lineno, max(stop, node.lineno + 1))
    return found

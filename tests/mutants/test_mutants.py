"""The mutants are those that are meant, and a list that is not the truth is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest

from tests.mutants.live import Live, RunsAtImport, changed_codes
from tests.mutants.mutant import Mutant, mutants_of
from tests.mutants.parts import PARTS, SOURCE, parts_of
from tests.mutants.survivors import LIST, faults, read, written

SMALL = """
TABLE = {"a": f(x), "b": g(x, key=1)}


class Thing:
    def total(self, x: int | None = None) -> int | None:
        assert x < 5
        names = zip(self, x, strict=True)
        if x <= 3:
            return names
        return None
"""

MUTANTS = {
    ("", 'TABLE = {"a": f(x), "b": g(x, key=1)}', after)
    for after in (
        'TABLE = {"a": f(x), "b": g(x, key= 2)}',
        'TABLE = {"a": f(x), "b": g(x, key= 0)}',
        'TABLE = {"a": f(x), "b": g(x,)}',
        'TABLE = { "b": g(x, key=1)}',
        'TABLE = {"a": f(x),}',
    )
} | {
    ("Thing.total", "if x <= 3:", after)
    for after in ("if x < 3:", "if x > 3:", "if not x <= 3:", "if x <= 4:", "if x <= 2:")
} | {("Thing.total", "return names", "return None")}  # fmt: skip


def test_the_mutants_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(SMALL, encoding="utf-8")
    found = mutants_of("small.py", tmp_path)
    assert {(m.function, m.before, m.after) for m in found} == MUTANTS
    assert len(found) == len(MUTANTS)
    by_line = {m.before: list(m.lines) for m in found}
    assert by_line["if x <= 3:"] == [9]
    assert all(m.source.replace(m.after, m.before) != m.source for m in found)


def test_mutants_that_read_alike_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text("def f(x):\n    x += 1\n    x += 1\n", encoding="utf-8")
    found = mutants_of("small.py", tmp_path)
    assert [(m.after, m.nth) for m in found] == [
        *(("x += 2", 1), ("x += 0", 1), ("x += 2", 2), ("x += 0", 2)),
    ]


def test_a_part_or_a_file_by_name() -> None:
    assert [part for part, _ in parts_of("")] == list(PARTS)
    (found,) = parts_of("spec/law.py")
    assert found == (PARTS[0], ("spec/law.py",))
    with pytest.raises(SystemExit, match="'speck' is no part: one of spec"):
        parts_of("speck")


def test_every_file_of_the_specification_has_mutants() -> None:
    files = {f"spec/{path.name}" for path in (SOURCE / "spec").glob("*.py")}
    assert files - {"spec/__init__.py"} == set(PARTS[0].files)


OLD = "y = 2\ndef f(x):\n    return [n + 1 for n in x]\ndef g():\n    return y\n"


def code(source: str) -> CodeType:
    return compile(source, "small.py", "exec", dont_inherit=True)


def test_a_change_in_a_function_becomes_its_code() -> None:
    space: dict[str, FunctionType] = {}
    exec(code(OLD), space)
    swapped = dict(changed_codes(code(OLD), code(OLD.replace("+ 1", "+ 5"))))
    assert space["g"].__code__ not in swapped
    space["f"].__code__ = swapped[space["f"].__code__]
    assert space["f"]([1, 2]) == [6, 7]


@pytest.mark.parametrize(
    ("one", "other"), [("y = 2", "y = 3"), ("def f(x)", "def f(x=1)"), ("def g", "@f\ndef g")]
)
def test_what_runs_at_import_cannot_be_swapped(one: str, other: str) -> None:
    with pytest.raises(RunsAtImport):
        list(changed_codes(code(OLD), code(OLD.replace(one, other))))


def test_a_table_stays_the_same_object(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mapdrop.small")
    exec("T = {1: 2}", vars(module))
    table = module.T
    monkeypatch.setitem(sys.modules, "mapdrop.small", module)
    Live([]).refill(Mutant("small.py", "", "2", "3", source="T = {1: 3}"))
    assert module.T is table
    assert table == {1: 3}


# --- The list.

ONE = Mutant("spec/law.py", "Law.rate", "a", "b")
OTHERS = [replace(ONE, after=str(n)) for n in range(19)]


def test_the_list_is_read_as_it_is_written() -> None:
    entries = [(ONE, "equivalent: c"), (replace(ONE, function="", nth=2), "d")]
    assert read("# Of mutants.\n\n" + written(entries)) == entries


@pytest.mark.parametrize(
    ("survivors", "listed", "whole", "wanted"),
    [
        ([ONE], [(ONE, "why")], True, ""),
        ([ONE], [], True, "survives, and is not listed: spec/law.py Law.rate: b"),
        ([], [(ONE, "why")], True, "listed, and killed: spec/law.py Law.rate: b"),
        ([ONE], [(ONE, "")], True, "listed without a reason: spec/law.py Law.rate: b"),
        ([], [(replace(ONE, after="c"), "why")], True, "listed, and no mutant: spec/law.py"),
        ([], [(replace(ONE, after="c"), "why")], False, ""),
        ([ONE, *OTHERS[:2]], [(m, "why") for m in (ONE, *OTHERS[:2])], True, "only 85.0% are"),
    ],
)
def test_what_is_wrong_with_a_list(
    survivors: list[Mutant], listed: list[tuple[Mutant, str]], whole: bool, wanted: str
) -> None:
    found = faults([ONE, *OTHERS], survivors, listed, whole)
    assert len(found) == (wanted != "")
    assert not wanted or found[0].startswith(wanted)


def test_what_the_list_names_is_there() -> None:
    """A renamed function or a changed line is noticed before the mutants run again."""
    for mutant, reason in read(LIST.read_text(encoding="utf-8")):
        text = (SOURCE / mutant.file).read_text(encoding="utf-8")
        lines = " ".join(line.strip() for line in text.splitlines())
        assert mutant.before in lines, mutant
        assert reason, mutant

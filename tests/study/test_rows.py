"""The file of rows: on disk at once, whole lines only, and never another's."""

from __future__ import annotations

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from mapdrop.study.row_schema import check_row
from mapdrop.study.rows import OUTPUTS, OutputExistsError, Row, RowFile, read_rows
from tests.study.example_rows import WRITTEN, begun, condition, study

ROWS = study({("none", 0.0): (0.5, 0.4), ("spatial", 0.5): (0.6,)})
CELL = {**condition("none", 0.0), "train_size": 32, "seed": 7}
FAILED = {"kind": "failed", **CELL, "error": "e", **WRITTEN}


def written(rows: list[Row], end: str = "\n") -> bytes:
    return "".join(json.dumps(row) + end for row in rows).encode()


def test_rows_are_on_disk_as_soon_as_they_are_appended(tmp_path: Path) -> None:
    with RowFile(tmp_path / "new" / "folder") as file:
        for number, row in enumerate(ROWS, start=1):
            file.append(row)
            assert read_rows(file.path) == file.rows == ROWS[:number]


@pytest.mark.parametrize(
    ("row", "message"),
    [({**FAILED, "loss": math.nan}, "JSON"), ({**FAILED, "seed": -1}, "seed is -1")],
    ids=["no JSON", "no row"],
)
def test_an_invalid_row_is_refused(row: Row, message: str, tmp_path: Path) -> None:
    with RowFile(tmp_path) as file:
        with pytest.raises(ValueError, match=message):
            file.append(row)
        assert not file.path.exists()
        assert file.rows == []
        file.append(ROWS[0])
        with pytest.raises(ValueError, match=message):
            file.append(row)
        assert file.path.read_bytes() == written(ROWS[:1])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_a_row_cut_short_by_a_kill_is_removed(end: str, tmp_path: Path) -> None:
    """Whatever an editor or a version control system made of the line ends."""
    path, whole, torn = tmp_path / "rows.jsonl", written(ROWS, end), json.dumps(FAILED).encode()
    for length in (0, 1, 9, len(torn)):
        path.write_bytes(whole + torn[:length])
        assert read_rows(path) == ROWS
        with RowFile(tmp_path) as file:
            assert file.rows == ROWS
            assert path.read_bytes() == whole
            file.append(FAILED)
        assert read_rows(path) == [*ROWS, FAILED]


FOREIGN = {
    "text": b"my notes\nthe last line",
    "no line end": b"my notes",
    "rows of another program": b'{"kind": "run"}\n{"kind": "ru',
    "other JSON": b'[1, 2]\n"three',
    "old line ends": b"one\rtwo\rthree",
    "UTF-16": "notes\nmore".encode("utf-16"),
    "zeros": bytes(64),
    "only a row": written([FAILED]) + b"{",
    "a study's row, no first one": written(ROWS[1:]) + b"{",
    "a first row without its end": json.dumps(begun()).encode(),
    "nested": b"[" * 100_000 + b"\n{",
    "two studies": written([*ROWS, begun()]) + b"{",
    "too little": written([{"kind": "study"}]) + b"{",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_of_another_kind_is_left_unchanged(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputExistsError, match="choose another --out") as caught:
        RowFile(tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content
    with pytest.raises(OutputExistsError):
        read_rows(path)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_new_study_writes_over_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=f"{name} exists, but is not a study's"):
        RowFile(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_damaged_line_in_the_middle_is_reported(tmp_path: Path) -> None:
    path, whole = tmp_path / "rows.jsonl", written(ROWS)
    first, second, *rest = whole.splitlines(keepends=True)
    path.write_bytes(first + second[:9] + b"\n" + b"".join(rest))
    with pytest.raises(OutputExistsError, match=r"rows\.jsonl, line 2 is not a row of a study"):
        RowFile(tmp_path)
    path.write_bytes(whole)
    with RowFile(tmp_path) as file:  # The failed attempt left the folder unlocked.
        assert os.path.getsize(file.path) == len(whole)


def test_two_cannot_write_one_study(tmp_path: Path) -> None:
    with RowFile(tmp_path), pytest.raises(OutputExistsError, match="another process is running"):
        RowFile(tmp_path)
    with RowFile(tmp_path) as file:
        assert file.rows == []


@pytest.mark.skipif(os.name != "posix", reason="pipes with a name")
def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR)  # So that nobody waits for a writer.
    try:
        with pytest.raises(OutputExistsError, match="is not a regular file"):
            read_rows(path)
    finally:
        os.close(end)


# --- What a row holds.


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values in a row."""
    if not path or isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else list(enumerate(value))[:2]
        below = [place for name, item in items for place in places(item, (*path, name))]
        return [path, *below] if path else below
    return [path]


def changed(row: Row, path: tuple[Any, ...], value: Any) -> Row:
    found = copy.deepcopy(row)
    inner: Any = found
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return found


KINDS = {row["kind"]: row for row in [*ROWS, FAILED]}
KINDS["costs"] = {"kind": "costs", "costs": {"flops": 1.0, "least": 0.05}, **WRITTEN}
ALL = [
    pytest.param(kind, path, id=f"{kind}.{'.'.join(map(str, path))}")
    for kind, row in KINDS.items()
    for path in places(row)
    if path[-1] not in ("median_error", "step_ms")  # They are not read.
]


@pytest.mark.parametrize(("kind", "path"), ALL)
def test_every_field_is_checked(kind: str, path: tuple[Any, ...]) -> None:
    """No type, nor a number out of range, that is not the field's own."""
    row = KINDS[kind]
    check_row(row)
    right: Any = row
    for name in path:
        right = right[name]
    wrong: list[Any] = [math.nan, math.inf, -1, True, 10**400, [[[]]], {"a": [None]}]
    wrong += [1.5] if isinstance(right, str) else ["\x1b[2J"]
    wrong += [None] if path[0] != "errors" or len(path) < 4 else []
    for value in wrong:
        with pytest.raises(ValueError, match=r" is |expected|there is no dropout") as caught:
            check_row(changed(row, path, value))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200


MISFITS: dict[str, tuple[int, tuple[Any, ...], Any, str]] = {
    "fewer images": (2, ("errors", "test"), [[1.0] * 3], "should have 40 images with 3 joints"),
    "fewer joints": (2, ("errors", "test", 4), [1.0], "should have 40 images with 3 joints"),
    "no figure": (2, ("errors", "test"), [[None] * 3] * 40, "errors.test has no number"),
    "no radius": (2, ("metrics", "test", "pck"), {"8": 0.5}, r"metrics.test.pck.4 is missing"),
    "no part": (2, ("curve",), {}, "curve.train is missing"),
    "not timed": (2, ("rate",), 0.25, "no timing of none 0.25 precedes it"),
}


@pytest.mark.parametrize(("line", "path", "value", "message"), MISFITS.values(), ids=MISFITS)
def test_rows_fit_each_other(
    line: int, path: tuple[Any, ...], value: Any, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(written([*ROWS[:line], changed(ROWS[line], path, value)]))
    with pytest.raises(OutputExistsError, match=f"line {line + 1}: .*{message}"):
        read_rows(file)

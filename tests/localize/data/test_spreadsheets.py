"""Tables of points as spreadsheets save them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapdrop.localize.data import DataError, Dataset, read, recognise
from mapdrop.localize.data.csv_rows import MISSING, parse_point

ROWS = [
    ("image", "joint", "x", "y"),
    ("a.png", "Öhr", "1.5", "2.25"),
    ("a.png", "nose", "", ""),
    ("ä.png", "Öhr", "1000.125", "4"),
    ("ä.png", "nose", "7", "8"),
]
NAN = (np.nan, np.nan)
POINTS = [[(1.5, 2.25), NAN], [(1000.125, 4), (7, 8)]]


def check(data: Dataset) -> None:
    assert data.joints == ("Öhr", "nose")
    assert [sample.image.name for sample in data.samples] == ["a.png", "ä.png"]
    np.testing.assert_array_equal([sample.points for sample in data.samples], POINTS)


def text(end: str = "\r\n", separator: str = ",", point: str = ".") -> str:
    rows = [
        (name, joint, x.replace(".", point), y.replace(".", point)) for name, joint, x, y in ROWS
    ]
    return "".join(separator.join(row) + end for row in rows)


EUROPEAN = text(separator=";", point=",")
FILES = {
    "plain": text().encode(),
    "UTF-8 with a mark": text().encode("utf-8-sig"),
    "LF": text("\n").encode(),
    "CR": text("\r").encode(),
    "European": EUROPEAN.encode("cp1252"),
    "European with a mark": EUROPEAN.encode("utf-8-sig"),
    "semicolons and points": text(separator=";").encode(),
    "Unicode text": text(separator="\t", point=",").encode("utf-16"),
    "big-endian": b"\xfe\xff" + text(separator="\t").encode("utf-16-be"),
    "sep=": b"sep=;\r\n" + EUROPEAN.encode("cp1252"),
    "quotes": text().replace("image,joint", '"image","joint"').encode(),
    "quoted with semicolons": EUROPEAN.replace("image;", '"image";').encode(),
    "empty last rows": (EUROPEAN + ";;;\r\n" * 3).encode(),
    "empty last columns": EUROPEAN.replace("\r\n", ";;\r\n").encode(),
    "blank lines": (" \r\n" + text("\r\n\r\n")).encode(),
    "capitals": text().replace("image,joint,x,y", "Image,JOINT, X,Y").encode(),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".txt", ".tsv"])
def test_a_table_of_a_spreadsheet_is_read(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"t{suffix}").write_bytes(content)
    check(read(tmp_path / f"t{suffix}"))
    check(read(tmp_path))


def test_an_image_is_found_by_its_name_in_another_encoding(tmp_path: Path) -> None:
    for name in ("a.png", "ä.png"):
        Image.new("RGB", (1002, 9), (200, 0, 0)).save(tmp_path / name)
    (tmp_path / "t.csv").write_bytes(EUROPEAN.encode("cp1252"))
    picture, points = read(tmp_path)[1]
    assert picture.size == (1002, 9)
    np.testing.assert_array_equal(points, POINTS[1])


def test_columns_may_be_in_any_order_and_others_are_left_out(tmp_path: Path) -> None:
    rows = ["x,likelihood,y,image,,comment,joint", "1,0.9,2,a.png,,,nose", "3,,4,b.png,,far,nose,,"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    data = read(tmp_path)
    points = [sample.points for sample in data.samples]
    np.testing.assert_array_equal(points, [[(1, 2)], [(3, 4)]])
    assert data.left_out == ("2 columns (likelihood, comment)",)


def test_columns_of_row_numbers_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",image,joint,x,y\n0,a.png,nose,1,2\n1,b.png,nose,,\n")
    data = read(tmp_path)
    np.testing.assert_array_equal(data.samples[0].points, [(1, 2)])
    assert data.left_out == ("1 column (number 1)", "1 sample without a label")


@pytest.mark.parametrize(
    "header", ["image,joint,x", "image,joint,x,y,X", "image|joint|x|y", "x,y", "image;joint,x,y"]
)
def test_a_header_without_the_four_columns_is_an_error(tmp_path: Path, header: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\na.png,nose,1,2\n")
    with pytest.raises(DataError, match=r"t\.csv:1: expected image,joint,x,y, found "):
        read(tmp_path / "t.csv")


# What pandas takes for missing by default, without its words for undefined numbers on Windows.
PANDAS = ["", "#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]


@pytest.mark.parametrize("cell", [*PANDAS, "-", "#NV"])
def test_what_stands_for_no_number_is_missing(cell: str) -> None:
    np.testing.assert_array_equal(parse_point("t.csv:2", cell, ""), NAN)
    with pytest.raises(DataError, match=r"t\.csv:2: one of x=.*, y='1' is missing; fill both"):
        parse_point("t.csv:2", cell, "1")


def test_the_words_for_missing_are_compared_in_lower_case() -> None:
    assert {word.lower() for word in MISSING} == MISSING


NUMBERS = ["1", "-1", "+1.", ".5", "0012.50", "1e-05", "2.5E+2"]


@pytest.mark.parametrize("cell", NUMBERS)
def test_a_plain_decimal_number_is_what_python_says(cell: str) -> None:
    assert parse_point("", cell, "0") == (float(cell), 0)
    comma = cell.replace(".", ",")
    assert parse_point("", comma, "0", decimal_comma=True) == (float(cell), 0)


WORDS = [
    *(
        "1_0",
        "\uff11\uff12",
        "\u0661",
        "inf",
        "-Infinity",
        "0x10",
        "1e999",
        "1 000",
        "1.2.3",
        "1.000,5",
    ),
    *(".", "e5", "+-1", "12px", "01. Mai", "1\u00bd"),
]


@pytest.mark.parametrize("cell", WORDS)
@pytest.mark.parametrize("decimal_comma", [False, True], ids=["points", "commas"])
def test_anything_else_is_no_number(cell: str, decimal_comma: bool) -> None:
    with pytest.raises(DataError, match=r"t\.csv:2: .* is not a number such as 12\.5; "):
        parse_point("t.csv:2", cell, "1", decimal_comma=decimal_comma)


def test_a_comma_in_a_number_is_only_clear_where_cells_end_at_another_sign(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('image,joint,x,y\na.png,nose,"1,234",2\n')
    with pytest.raises(DataError, match=r"t\.csv:2: '1,234' is not .* with a decimal point"):
        read(path)
    path.write_text("image,joint,x,y\na.png,nose,1,5,2,5\n")
    with pytest.raises(DataError, match=r"t\.csv:2: 6 cells where the header has 4; write decim"):
        read(path)
    path.write_text("image;joint;x;y\na.png;nose;1,234;2\n")
    np.testing.assert_array_equal(read(path).samples[0].points, [(1.234, 2)])


def test_hidden_twins_and_other_tables_are_no_tables_of_points(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(FILES["plain"])
    (tmp_path / "._t.csv").write_bytes(FILES["plain"])
    (tmp_path / "README.txt").write_text("Images and joints, and what they are.\n")
    (tmp_path / "long.csv").write_text("week;sales\n" + "1;2\n" * 50_000)
    check(read(tmp_path))
    assert recognise(tmp_path) is recognise(tmp_path / "t.csv")

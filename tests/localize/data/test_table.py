"""Tables of points."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdrop.localize.data import DataError, Dataset, read
from mapdrop.localize.data.dataset import Sample
from mapdrop.localize.data.image_files import ImageFile

HEADER = "image,joint,x,y\n"
ROWS = "a.png,nose,1,2\na.png,tail,3,4.5\nb.png,nose,5,6\n"


def table(root: Path, text: str | bytes) -> Path:
    path = root / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_missing_row_and_empty_cells_are_missing_joints(tmp_path: Path) -> None:
    data = read(table(tmp_path, HEADER + ROWS + "c.png,tail,7,8\nc.png,nose,,\nd.png,tail,NaN,\n"))
    assert data.joints == ("nose", "tail")
    assert [sample.image.name for sample in data.samples] == ["a.png", "b.png", "c.png"]
    nan = (np.nan, np.nan)
    expected = [[(1, 2), (3, 4.5)], [(5, 6), nan], [nan, (7, 8)]]
    np.testing.assert_array_equal([sample.points for sample in data.samples], expected)
    assert [sample.where.rpartition(":")[2] for sample in data.samples] == ["2", "4", "5"]


def test_spaces_marks_blank_lines_and_other_slashes_are_read(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufeffImage , joint,X,y\r\n\r\n v\\a.png , nose , 1 , 2 \r\n")
    (sample,) = read(path).samples
    assert sample.image == ImageFile(tmp_path.resolve() / "v" / "a.png")
    np.testing.assert_array_equal(sample.points, [[1, 2]])


BROKEN = {
    "nothing": ("", r"t\.csv is empty; its first row should be image,joint,x,y"),
    "only a header": (HEADER, r"t\.csv: no image has a label"),
    "no labels": (HEADER + "a.png,nose,,\n", r"t\.csv: no image has a label"),
    "no header": (ROWS, r"t\.csv:1: expected image,joint,x,y, found a\.png,nose,1,2"),
    "DeepLabCut's": ("scorer,A\nbodyparts,n\n", r"t\.csv:1: this is DeepLabCut's table; pass"),
    "short row": (HEADER + "a.png,nose,1\n", r"t\.csv:2: 3 cells where the header has 4"),
    "long row": (HEADER + "a.png,nose,1,2,3\n", r"t\.csv:2: 5 cells where the header has 4"),
    "word": (
        HEADER + ROWS + "b.png,tail,x,1\n",
        r"t\.csv:5: 'x' is not a number such as 12\.5; correct",
    ),
    "half": (HEADER + "a.png,nose,,2\n", r"t\.csv:2: one of x='', y='2' is missing; fill both"),
    "twice": (HEADER + ROWS + "./a.png,nose,9,9\n", r"t\.csv:5: 'nose' of ./a\.png is also in an"),
    "no joint": (HEADER + "a.png,,1,2\n", r"t\.csv:2: the joint's name is empty"),
    "no image": (HEADER + " ,nose,1,2\n", r"t\.csv:2: the image's name is empty"),
    "outside": (HEADER + ROWS + "../a.png,n,1,2\n", r"t\.csv:5: .*\.\./a\.png lies outside the"),
    "absolute": (HEADER + f"{__file__},n,1,2\n", r"t\.csv:2: .*\.py lies outside the data"),
    "zero byte": (HEADER + "a\0.png,n,1,2\n", r"t\.csv(:2: .* is not a path| can't be read)"),
    "two encodings": (
        (HEADER + "é.png,n,1,2\n").encode() + "é.png,n,1,2".encode("latin-1"),
        r"t\.csv can't be read .*as UTF-8",
    ),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_table_is_named_with_its_line(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(table(tmp_path, text))


def test_of_several_tables_one_must_be_named(tmp_path: Path) -> None:
    table(tmp_path, HEADER + ROWS)
    assert len(read(tmp_path)) == 2
    (tmp_path / "other.csv").write_text("week,sales\n1,2\n")
    assert len(read(tmp_path)) == 2
    (tmp_path / "second.csv").write_text(HEADER + ROWS)
    with pytest.raises(DataError, match="has 2 tables of points; pass one of them"):
        read(tmp_path)


# Hypothesis also draws words of the source, among them the one that names the total.
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8).filter(
    lambda name: name != "total"
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
LABELS = st.dictionaries(
    st.tuples(st.integers(0, 5), NAMES), st.none() | st.tuples(NUMBERS, NUMBERS), max_size=12
)


@given(LABELS)
def test_what_is_written_is_read(labels: dict[tuple[int, str], tuple[float, float] | None]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            write = csv.writer(file).writerow
            write(["image", "joint", "x", "y"])
            for (number, joint), point in labels.items():
                write([f"{number}.png", joint, *(("", "") if point is None else map(repr, point))])
        if not any(labels.values()):
            with pytest.raises(DataError, match="no image has a label"):
                read(path)
            return
        assert found(read(path, coordinates="pixels")) == {
            key: point for key, point in labels.items() if point
        }


def found(data: Dataset) -> dict[tuple[int, str], tuple[float, float]]:
    def of(sample: Sample) -> dict[tuple[int, str], tuple[float, float]]:
        points = dict(zip(data.joints, sample.points.tolist(), strict=True))
        number = int(sample.image.path.stem)
        return {(number, j): (x, y) for j, (x, y) in points.items() if not math.isnan(x)}

    return {key: point for sample in data.samples for key, point in of(sample).items()}


def test_a_joint_without_a_row_is_missing_and_a_misspelled_one_an_error(tmp_path: Path) -> None:
    rows = "a.png,ear_l,1,2\na.png,nose,3,4\n"
    (tmp_path / "t.csv").write_text(HEADER + rows)
    found = read(tmp_path, ("ear_r", "nose", "ear_l"))
    np.testing.assert_array_equal(found.samples[0].points, [[np.nan] * 2, [3, 4], [1, 2]])
    for joints, message in (
        (("nos", "ear_l"), "no body part 'nos'; did you mean 'nose'"),
        (("tail",), "no body part 'tail'; it has ear_l, nose"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path, joints)

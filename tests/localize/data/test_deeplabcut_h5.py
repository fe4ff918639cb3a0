"""Labels of DeepLabCut in HDF5: files that pandas writes, and files that nobody should trust."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from mapdrop.cli import app
from mapdrop.localize.data import DataError, Dataset, deeplabcut, hdf5, read
from mapdrop.localize.data.hdf5 import unpickled

pytestmark = pytest.mark.filterwarnings("ignore::tables.NaturalNameWarning")

NAMES = ["0.png", "1.png", "2.png"]
VALUES = np.array([[1.5, 2, 3, 4], [np.nan, np.nan, 7, 8.25], [9, 10, np.nan, np.nan]])
KEY = "df_with_missing"
LEVELS = ["scorer", "bodyparts", "coords"]


def project(root: Path) -> Path:
    """Write a project of three frames without labels; return its video's folder."""
    folder = root / "labeled-data" / "v"
    folder.mkdir(parents=True)
    (root / "config.yaml").write_text("scorer: Ann\nbodyparts:\n- nose\n- tail\n")
    for name in NAMES:
        Image.new("RGB", (64, 48)).save(folder / name)
    return folder


def frame(
    values: npt.NDArray[Any] = VALUES, names: Sequence[str] = NAMES, parts: bool = False
) -> pd.DataFrame:
    """Make the table as DeepLabCut does; older versions named images by one string."""
    columns = pd.MultiIndex.from_product([["Ann"], ["nose", "tail"], ["x", "y"]], names=LEVELS)
    rows = [("labeled-data", "v", name) for name in names]
    index = pd.MultiIndex.from_tuples(rows) if parts else pd.Index(["/".join(row) for row in rows])
    return pd.DataFrame(values, index, columns)


def points(data: Dataset) -> npt.NDArray[np.float64]:
    return np.stack([sample.points for sample in data.samples]).reshape(len(data), -1)


LAYOUTS = {
    "fixed": (True, "fixed", KEY),
    "fixed, names of one part": (False, "fixed", KEY),
    "table": (False, "table", KEY),
    "another key": (True, "fixed", "keypoints"),
}


@pytest.mark.parametrize(("parts", "layout", "key"), LAYOUTS.values(), ids=LAYOUTS)
def test_what_pandas_writes_is_read(parts: bool, layout: Any, key: str, tmp_path: Path) -> None:
    folder = project(tmp_path)
    frame(parts=parts).to_hdf(folder / "CollectedData_Ann.h5", key=key, format=layout)
    data = read(tmp_path)
    assert data.joints == ("nose", "tail")
    assert [sample.image.path for sample in data.samples] == [folder / name for name in NAMES]
    np.testing.assert_array_equal(points(data), VALUES)
    assert [sample.where.rpartition(": ")[2] for sample in data.samples] == [
        "row 1",
        "row 2",
        "row 3",
    ]
    assert data.left_out == ()


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_columns_of_several_types_are_in_their_places(layout: Any, tmp_path: Path) -> None:
    folder = project(tmp_path)
    values = np.arange(12).reshape(3, 4) / 4
    table = frame(values)
    # pandas keeps integers in a block of their own.
    table["Ann", "nose", "y"] = np.array([7, 8, 9])
    table.to_hdf(folder / "CollectedData_Ann.h5", key=KEY, format=layout)
    values[:, 1] = [7, 8, 9]
    np.testing.assert_array_equal(points(read(tmp_path)), values)


def test_one_animal_of_a_project_of_several_is_read(tmp_path: Path) -> None:
    folder = project(tmp_path)
    table = frame(parts=True)
    table.columns = pd.MultiIndex.from_tuples(
        [("Ann", "mouse", *name[1:]) for name in table.columns],
        names=["scorer", "individuals", *LEVELS[1:]],
    )
    table.to_hdf(folder / "CollectedData_Ann.h5", key=KEY)
    np.testing.assert_array_equal(points(read(tmp_path)), VALUES)


def test_names_of_numbers_are_text(tmp_path: Path) -> None:
    folder = project(tmp_path)
    table = frame(parts=True)
    table.columns = pd.MultiIndex.from_product([[7], [1, 2], ["x", "y"]], names=LEVELS)
    table.to_hdf(folder / "CollectedData_7.h5", key=KEY)
    (tmp_path / "config.yaml").write_text("scorer: 007\nbodyparts: [01, 02]\n")
    assert read(tmp_path).joints == ("1", "2")


def test_of_two_files_that_agree_nothing_is_said(tmp_path: Path) -> None:
    folder = project(tmp_path)
    table = frame(VALUES + 1 / 3, parts=True)
    table.to_hdf(folder / "CollectedData_Ann.h5", key=KEY)
    table.to_csv(folder / "CollectedData_Ann.csv", float_format="%.3f")
    data = read(tmp_path)
    np.testing.assert_array_equal(points(data), VALUES + 1 / 3)
    assert data.left_out == ()


STALE = {
    "another point": frame(VALUES + 0.02),
    "an image less": frame(VALUES[:2], NAMES[:2]),
    "an image more": frame(np.vstack([VALUES, VALUES[:1]]), [*NAMES, "3.png"]),
    "another label missing": frame(np.where(VALUES == 3, np.nan, VALUES)),
    "another joint": frame().rename(columns={"tail": "tali"}),
}


@pytest.mark.parametrize("stale", STALE.values(), ids=STALE)
def test_where_files_differ_the_one_counts_that_deeplabcut_trains_from(
    stale: pd.DataFrame, tmp_path: Path
) -> None:
    folder = project(tmp_path)
    frame(parts=True).to_hdf(folder / "CollectedData_Ann.h5", key=KEY)
    stale.to_csv(folder / "CollectedData_Ann.csv")
    data = read(tmp_path)
    np.testing.assert_array_equal(points(data), VALUES)
    (said,) = data.left_out
    assert said.startswith(
        "1 .csv file with other labels than the .h5, from which DeepLabCut trains"
    )


@pytest.fixture
def no_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deeplabcut, "_has_h5py", lambda: False)


def both(root: Path, seconds: float) -> None:
    """Write a CSV, and a later HDF5 with other labels."""
    folder = project(root)
    frame(VALUES + 5).to_hdf(folder / "CollectedData_Ann.h5", key=KEY)
    frame().to_csv(folder / "CollectedData_Ann.csv")
    os.utime(folder / "CollectedData_Ann.csv", (1e9, 1e9))
    os.utime(folder / "CollectedData_Ann.h5", (1e9 + seconds, 1e9 + seconds))


@pytest.mark.usefixtures("no_h5py")
def test_without_h5py_a_csv_that_is_out_of_date_is_an_error(tmp_path: Path) -> None:
    both(tmp_path, seconds=3600)
    remedy = (
        r'h5 is newer than .*csv, .*; pip install "mapdrop\[deeplabcut\]" to read it, or delete'
    )
    with pytest.raises(DataError, match=remedy):
        read(tmp_path)


@pytest.mark.usefixtures("no_h5py")
@pytest.mark.parametrize("seconds", [-3600, 0, 2], ids=["older", "copied", "written together"])
def test_without_h5py_it_is_said_that_nothing_was_compared(seconds: int, tmp_path: Path) -> None:
    both(tmp_path, seconds)
    data = read(tmp_path)
    np.testing.assert_array_equal(points(data), VALUES)
    (said,) = data.left_out
    assert said.startswith("1 .h5 file not compared with its .csv")


def test_without_h5py_labels_in_hdf5_alone_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame().to_hdf(project(tmp_path) / "CollectedData_Ann.h5", key=KEY)
    monkeypatch.setattr(hdf5, "find_spec", lambda _: None)
    run = str(tmp_path / "run")
    done = CliRunner().invoke(app, ["localize", "train", str(tmp_path), "--out", run])
    assert done.exit_code == 1
    assert 'error: h5py is not installed: pip install "mapdrop[deeplabcut]"' in done.output


class Malicious:
    """Creates a file as soon as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickled_objects_are_not_executed(tmp_path: Path) -> None:
    folder = project(tmp_path)
    file = folder / "CollectedData_Ann.h5"
    frame().to_hdf(file, key=KEY, format="table")
    evil = np.bytes_(pickle.dumps(Malicious(tmp_path / "done"), protocol=0))
    with h5py.File(file, "r+") as found:
        found[KEY]["table"].attrs["values_block_0_kind"] = evil
    with pytest.raises(DataError, match=r"Ann\.h5 can't be read: it holds an object, posix\.mkdir"):
        read(tmp_path)
    assert not (tmp_path / "done").exists()
    # The same bytes do what they say where pickle itself reads them, as pandas has it do.
    pickle.loads(bytes(evil))
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_read(protocol: int) -> None:
    plain = [("Ann", "nose", "x"), {"a": [1, 2.5, None, True]}]
    assert unpickled(pickle.dumps(plain, protocol)) == plain


def test_names_of_python_2_are_read() -> None:
    assert unpickled(b"(lp0\nS'Zo\\xc3\\xab'\np1\na.") == ["Zoë"]


def elsewhere(root: Path) -> Path:
    """Write a table outside the project."""
    file = root.parent / f"{root.name}-outside.h5"
    frame(parts=True).to_hdf(file, key=KEY)
    return file


def link(root: Path, found: h5py.File) -> None:
    found[KEY] = h5py.ExternalLink(str(elsewhere(root)), f"/{KEY}")


def external(root: Path, found: h5py.File) -> None:
    raw = root.parent / f"{root.name}-raw"
    raw.write_bytes(VALUES.tobytes())
    found.create_dataset("values", VALUES.shape, "f8", external=str(raw))


def virtual(root: Path, found: h5py.File) -> None:
    layout = h5py.VirtualLayout(VALUES.shape, "f8")
    layout[:] = h5py.VirtualSource(str(elsewhere(root)), f"{KEY}/block0_values", VALUES.shape)
    found.create_virtual_dataset("values", layout)


def huge(root: Path, found: h5py.File) -> None:
    found.create_dataset("values", (1 << 40,), "f8", chunks=(1024,), compression="gzip")


ELSEWHERE = {
    "link": (link, "is a link to another file"),
    "raw file": (external, "the values of 'values' are in another file"),
    "virtual": (virtual, "the values of 'values' are in another file"),
    "huge": (huge, "'values' has more than 1073741824 bytes"),
}


@pytest.mark.parametrize(("write", "message"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_not_in_the_file_is_not_looked_up(write: Any, message: str, tmp_path: Path) -> None:
    folder = project(tmp_path)
    with h5py.File(folder / "CollectedData_Ann.h5", "w") as found:
        write(tmp_path, found)
    with pytest.raises(DataError, match=rf"Ann\.h5 can't be read: .*{message}; copy"):
        read(tmp_path)


def nothing(file: Path) -> None:
    with h5py.File(file, "w"):
        pass


def two(file: Path) -> None:
    for key in "ab":
        frame().to_hdf(file, key=key)


def one_level(file: Path) -> None:
    pd.DataFrame(VALUES, NAMES, list("abcd")).to_hdf(file, key=KEY)


def no_rows(file: Path) -> None:
    frame().iloc[:0].to_hdf(file, key=KEY)


def mixed(file: Path) -> None:
    table = frame().rename(columns={"nose": 1})
    table.columns = pd.MultiIndex.from_tuples(list(table.columns))
    with pytest.warns(pd.errors.PerformanceWarning):
        table.to_hdf(file, key=KEY)


USELESS = {
    "no HDF5": (
        lambda file: file.write_bytes(b"scorer"),
        r"Ann\.h5 can't be read: .*; copy or save",
    ),
    "nothing": (nothing, "should hold one table, df_with_missing, not none"),
    "two tables": (two, "should hold one table, df_with_missing, not a, b"),
    "one level": (one_level, "is not a table of labels"),
    "no rows": (no_rows, "no image has a label"),
    "pickled names": (mixed, r"level1 are pickled"),
}


@pytest.mark.parametrize(("write", "message"), USELESS.values(), ids=USELESS)
def test_a_file_without_labels_is_an_error(write: Any, message: str, tmp_path: Path) -> None:
    write(project(tmp_path) / "CollectedData_Ann.h5")
    with pytest.raises(DataError, match=message):
        read(tmp_path)

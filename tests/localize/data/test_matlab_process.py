"""A damaged MATLAB file may crash SciPy's reader, but not the process that reads it."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from mapdrop.localize import matlab_process, reader_process
from mapdrop.localize.data import DataError, read
from tests.localize.data.writers import flic_rows, mpii_person, mpii_release, structs, truth

HEADER = 128
JOINTS = ("lsho", "rsho", "nose", "mtorso")


def flic() -> dict[str, Any]:
    return {"examples": structs(flic_rows(truth(), JOINTS))}


def mpii() -> dict[str, Any]:
    people = [structs([mpii_person(points, range(4))]) for points in truth().points]
    return mpii_release([("a.png", person) for person in people])


def child() -> int:
    process = reader_process._READER._process
    assert process is not None
    return process.pid


@pytest.mark.parametrize(("contents", "times"), [(flic, 250), (mpii, 40)], ids=["flic", "mpii"])
def test_a_damaged_uncompressed_file_is_data_or_a_message(
    contents: Callable[[], dict[str, Any]], times: int, tmp_path: Path
) -> None:
    """Of 400 files like FLIC's, eight crashed SciPy 1.17 and the interpreter."""
    path = tmp_path / "labels.mat"
    savemat(path, contents())
    whole, expected = path.read_bytes(), [sample.points for sample in read(path).samples]
    rng = random.Random(0)
    for _ in range(times):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            damaged[rng.randrange(HEADER, len(whole))] = rng.randrange(256)
        path.write_bytes(damaged)
        with suppress(DataError):
            assert len(read(path)) >= 1
    path.write_bytes(whole)
    np.testing.assert_array_equal([sample.points for sample in read(path).samples], expected)


def test_a_crash_is_reported_and_the_next_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"x": np.arange(3.0)})
    np.testing.assert_array_equal(matlab_process.load(path, "x"), [0, 1, 2])
    first = child()
    os.kill(first, signal.SIGSEGV)
    with pytest.raises(reader_process.UnreadableError, match="crashed the reader"):
        matlab_process.load(path, "x")
    np.testing.assert_array_equal(matlab_process.load(path, "x"), [0, 1, 2])
    assert child() != first


def test_a_reader_that_does_not_answer_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"x": 1.0})
    assert matlab_process.names(path) == ("x",)
    os.kill(child(), signal.SIGSTOP)
    monkeypatch.setattr(reader_process, "SECONDS", 0.1)
    with pytest.raises(reader_process.UnreadableError, match="took too long"):
        matlab_process.names(path)


def test_nothing_is_imported_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scipy.py").write_text("raise SystemExit")
    savemat(tmp_path / "a.mat", {"x": 1.0})
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    reader_process._READER.close()
    assert matlab_process.names(Path("a.mat")) == ("x",)


def test_a_file_of_version_7_3_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"examples": 1.0})
    whole = bytearray(path.read_bytes())
    whole[124:126] = b"\x00\x02"
    path.write_bytes(whole)
    with pytest.raises(matlab_process.VersionError):
        matlab_process.names(path)

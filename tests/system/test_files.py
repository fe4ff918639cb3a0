"""Files are replaced at once or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mapdrop.system.files import replacing, write


@pytest.mark.parametrize("unique", [False, True])
def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path, unique: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path, unique=unique) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
        assert len(list(tmp_path.iterdir())) == 2
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"new"]


@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("problem", [OSError("full"), KeyboardInterrupt()], ids=repr)
def test_after_a_failure_nothing_is_left(
    tmp_path: Path, unique: bool, problem: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path, unique=unique) as file:
            file.write(b"new")
            raise problem

    with pytest.raises(type(problem)):
        fail()
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"old"]


def test_a_file_that_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"), replacing(tmp_path / "folder") as file:
        file.write(b"new")
    assert [found.name for found in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("unique", [False, True])
def test_links_are_replaced_and_not_followed(tmp_path: Path, unique: bool) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    for name in ("file", ".file.part"):
        (tmp_path / name).symlink_to(precious)
    with replacing(tmp_path / "file", unique=unique) as file:
        file.write(b"new")
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert precious.read_bytes() == b"precious"


def test_two_writers_of_unique_names_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path, unique=True) as one, replacing(path, unique=True) as two:
        one.write(b"one")
        two.write(b"two")
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"one"]


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_bytes(b"half")
    write(tmp_path / "file", b"new")
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"new"]


def test_content_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size == 3
        done.append("fsync")
        sync(descriptor)

    def replaced(source: str, target: Path) -> None:
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write(tmp_path / "new folder" / "file", b"new")
    assert done == ["fsync", "replace"]


def test_a_bare_name_is_in_the_present_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with replacing("file", unique=True) as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"

"""A FIFO instead of a file is refused: opening it would wait for a writer for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mapdrop.localize.data import DataError, check_images, read
from mapdrop.system.files import content
from tests.localize.data.test_damage import FILES
from tests.localize.data.writers import FORMATS, truth

if not hasattr(os, "mkfifo"):
    pytest.skip("Windows has no FIFOs in folders", allow_module_level=True)


def replace_by_pipe(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("place", ["folder", "file"])
@pytest.mark.parametrize("name", FORMATS)
def test_labels_in_a_pipe_are_refused(name: str, place: str, tmp_path: Path) -> None:
    write, joints, _ = FORMATS[name]
    write(tmp_path, truth(), joints)
    pipe = replace_by_pipe(tmp_path / FILES[name])
    with pytest.raises(DataError):
        read(tmp_path if place == "folder" else pipe)


@pytest.mark.parametrize("name", FORMATS)
def test_images_in_pipes_are_refused(name: str, tmp_path: Path) -> None:
    write, joints, _ = FORMATS[name]
    write(tmp_path, truth(), joints)
    for picture in tmp_path.rglob("*.png"):
        replace_by_pipe(picture)
    with pytest.raises(DataError, match="8 problems with 8 images"):
        check_images(read(tmp_path))


def test_a_config_in_a_pipe_is_refused(tmp_path: Path) -> None:
    write, joints, _ = FORMATS["deeplabcut"]
    write(tmp_path, truth(), joints)
    replace_by_pipe(tmp_path / "config.yaml")
    with pytest.raises(DataError, match=r"config\.yaml is missing"):
        read(tmp_path)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert content(tmp_path / "file") == content(tmp_path / "file", 3) == b"abc"
    with pytest.raises(OSError, match="more than 2 bytes"):
        content(tmp_path / "file", 2)
    for path in (tmp_path, replace_by_pipe(tmp_path / "pipe"), Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            content(path)

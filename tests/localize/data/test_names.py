"""Names of images as other tools and other computers write them, in every format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import pytest

from mapdrop.localize.data import DataError, read
from mapdrop.localize.data.paths import Finder
from tests.localize.data.writers import FORMATS, truth

NAMES = {
    "as it is": ("frames/a.png", "frames/a.png"),
    "with a percent sign": ("frames/100%25.png", "frames/100%25.png"),
    "with a backslash": ("a\\b.png", "a\\b.png"),
    "up and down": ("./cam/../frames/a.png", "frames/a.png"),
    "composed": ("größe/né.png", normalize("NFD", "größe/né.png")),
    "decomposed": (normalize("NFD", "größe/né.png"), normalize("NFC", "größe/né.png")),
    "half composed": ("größe/né.png", f"größe/{normalize('NFD', 'né.png')}"),
    "of Windows": ("frames\\cam 1\\a.png", "frames/cam 1/a.png"),
    "percent-encoded": ("my%20image%C3%A4.png", "my imageä.png"),
    "of another Windows": ("C:\\Users\\lab\\data\\frames\\a.png", "frames/a.png"),
    "of a Windows with slashes": ("d:/data/a.png", "a.png"),
    "of a share": ("\\\\server\\lab\\frames\\a.png", "frames/a.png"),
    "of another POSIX": ("/home/lab/data/frames/a.png", "frames/a.png"),
    "of a folder beside": ("../data/frames/a.png", "frames/a.png"),
    # HumanSignal/label-studio, issue 7294
    "of Label Studio 1.16": (
        "..\\..\\label-studio\\label-studio\\media\\upload\\4\\cb0618f6-a.png",
        "cb0618f6-a.png",
    ),
    "uploaded to Label Studio": ("/data/upload/3/abcd1234-a.png", "abcd1234-a.png"),
    "local to Label Studio": ("/data/local-files/?d=lab/my%20frames/a+b.png", "my frames/a+b.png"),
    "of a server": ("https://host:8080/data/frames/a.png?token=x/y", "frames/a.png"),
    "of a file": ("file:///home/lab/my%20frames/a.png", "my frames/a.png"),
    "of a file of Windows": ("file:///C:/lab/frames/a.png", "frames/a.png"),
    "of a bucket": ("s3://lab/frames/a.png", "frames/a.png"),
}


def find(root: Path, name: str, folders: list[str], where: str) -> Path:
    return Finder(root)(name, folders, where)


def touched(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


@pytest.mark.parametrize(("name", "file"), NAMES.values(), ids=NAMES)
def test_a_name_finds_its_file(tmp_path: Path, name: str, file: str) -> None:
    root = touched(tmp_path / "x", file)
    assert find(root, name, [""], "here").read_text() == file
    assert find(root, name, ["none", ""], "here").read_text() == file
    assert find(tmp_path, name, ["none", "x"], "here").read_text() == file


BOTH = {
    "percent": ("a%20b.png", "a b.png"),
    "Unicode": (normalize("NFD", "é.png"), normalize("NFC", "é.png")),
    "backslash": ("a\\b.png", "a/b.png"),
}


@pytest.mark.parametrize(("name", "other"), BOTH.values(), ids=BOTH)
def test_a_file_of_exactly_this_name_comes_first(tmp_path: Path, name: str, other: str) -> None:
    touched(tmp_path, other, name)
    assert find(tmp_path, name, [""], "here").read_text() == name
    touched(tmp_path / "second", name)
    (tmp_path / name).unlink()
    assert find(tmp_path, name, ["", "second"], "here").read_text() == name


def test_the_longest_end_counts(tmp_path: Path) -> None:
    root = touched(tmp_path, "a.png", "cam/a.png", "data/cam/a.png", "other/a.png")
    assert find(root, "/x/data/cam/a.png", [""], "here").read_text() == "data/cam/a.png"
    assert find(root, "/x/cam/a.png", ["", "data"], "here").read_text() == "cam/a.png"
    assert find(root, "/x/y/a.png", ["other", ""], "here").read_text() == "other/a.png"


def test_an_end_does_not_replace_a_name_inside_the_folder(tmp_path: Path) -> None:
    root = touched(tmp_path, "a.png")
    assert find(root, "cam2/a.png", [""], "here") == root / "cam2" / "a.png"
    assert find(root, "t:1/a.png", [""], "here") == root / "t:1" / "a.png"


@pytest.mark.parametrize("name", ["{outside}/frames/a.png", "../frames/a.png"])
def test_a_file_outside_does_not_hide_the_one_inside(tmp_path: Path, name: str) -> None:
    root = touched(tmp_path, "frames/a.png", "data/frames/a.png") / "data"
    found = find(root, name.format(outside=tmp_path), [""], "here")
    assert found.read_text() == "data/frames/a.png"


SECRETS = [
    "../secret.png",
    "..\\secret.png",
    "a/../../secret.png",
    "{outside}/secret.png",
    "link/secret.png",
    "/x/link/secret.png",
]


@pytest.mark.parametrize("name", SECRETS)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    root = touched(tmp_path, "secret.png", "data/a.png") / "data"
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match=r"^here: .*secret\.png lies outside the data folder"):
        find(root, name.format(outside=tmp_path), ["", "sub"], "here")


@pytest.mark.parametrize("name", ["%2e%2e/secret.png", "file://{outside}/secret.png"])
def test_an_encoded_name_does_not_lead_out_either(tmp_path: Path, name: str) -> None:
    root = touched(tmp_path, "secret.png", "data/a.png") / "data"
    found = find(root, name.format(outside=tmp_path), ["", "sub"], "here")
    assert found.is_relative_to(root)
    assert not found.exists()


GONE = {
    "of another POSIX": ("/home/lab/frames/a.png", "home/lab/frames/a.png"),
    "of another Windows": ("C:\\lab\\frames\\a.png", "C/lab/frames/a.png"),
    "of a server": ("https://host/data/a.png?x=1", "data/a.png"),
    "above a server's folder": ("file://../secret.png", "secret.png"),
    "above a local folder": ("/data/local-files/?d=../secret.png", "secret.png"),
}


@pytest.mark.parametrize(("name", "path"), GONE.values(), ids=GONE)
def test_a_foreign_image_that_is_not_here_is_missing(tmp_path: Path, name: str, path: str) -> None:
    """So that `--skip-missing` can leave out its labels, and others stay apart."""
    root = touched(tmp_path, "secret.png", "data/b.png") / "data"
    assert find(root, name, [""], "here") == root / path
    (root / "points.csv").write_text(f"image,joint,x,y\n{name},nose,3,4\nb.png,nose,5,6\n")
    assert [s.image.name for s in read(root, skip_missing=True).samples] == ["b.png"]


COLLISIONS = {
    "two folders": ("/x/day1/a.png", "/x/day2/a.png"),
    "two computers": ("C:\\day1\\a.png", "/home/day1/a.png"),
    "here and elsewhere": ("a.png", "/home/day1/a.png"),
    "elsewhere and here": ("/home/day1/a.png", "a.png"),
}


@pytest.mark.parametrize(("one", "other"), COLLISIONS.values(), ids=COLLISIONS)
def test_two_names_are_not_taken_for_one_image(tmp_path: Path, one: str, other: str) -> None:
    touched(tmp_path, "a.png")
    finder = Finder(tmp_path)
    for _ in range(2):
        assert finder(one, [""], "here") == tmp_path / "a.png"
    with pytest.raises(DataError, match=r"^here: .* are both taken for .*a\.png; copy the other"):
        finder(other, [""], "here")


def test_two_ways_to_write_one_name_are_one_image(tmp_path: Path) -> None:
    touched(tmp_path, "cam/ä.png")
    finder = Finder(tmp_path)
    for name in ("cam/ä.png", "cam\\ä.png", normalize("NFD", "cam/ä.png"), "cam/%C3%A4.png"):
        assert finder(name, [""], "here").read_text() == "cam/ä.png"


def test_a_name_that_no_file_can_have_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 20005 letters, which no file can have"):
        find(tmp_path, "/a" * 10_000 + "a.png", [""], "here")


LABELLED = {
    "composed": ("ü{}.png", normalize("NFD", "ü{}.png")),
    "percent-encoded": ("%C3%BC%20{}.png", "ü {}.png"),
}


@pytest.mark.parametrize(("name", "file"), LABELLED.values(), ids=LABELLED)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_finds_its_images(kind: str, name: str, file: str, tmp_path: Path) -> None:
    write, joints, _ = FORMATS[kind]
    data = replace(truth(), files=[name.format(number) for number in range(8)])
    write(tmp_path, data, joints)
    renamed = [
        sample.image.path.rename(sample.image.path.with_name(file.format(number)))
        for number, sample in enumerate(read(tmp_path).samples)
    ]
    assert [sample.image.path for sample in read(tmp_path).samples] == renamed

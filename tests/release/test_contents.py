"""The sdist has what it takes to build and test the package, the wheel the package, and no more."""

from __future__ import annotations

import re
import subprocess
import tarfile
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.release.conftest import ROOT, Built, build

pytestmark = pytest.mark.subprocess

MOST = {"sdist": 1_500_000, "wheel": 1_000_000}  # Bytes: no pictures, no data.
OF_THE_ROOT = {
    ".gitignore",  # Hatchling's own choice, as is PKG-INFO.
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "PKG-INFO",
    "README.md",
    "constraints.txt",
    "pyproject.toml",
    "tox.ini",
}


def strangers(names: list[str]) -> list[str]:
    """Return the files of an sdist that nobody needs to build or test the package."""
    return [
        name
        for name in names
        if name not in OF_THE_ROOT
        and not re.fullmatch(r"(src/mapdrop|tests)/[\w./-]+\.(py|txt|json|ini|html|css|js)", name)
        and name != "src/mapdrop/py.typed"
    ]


def _sdist_names(built: Built) -> list[str]:
    with tarfile.open(built.sdist) as files:
        return [
            name.partition("/")[2] for name in files.getnames() if files.getmember(name).isfile()
        ]


def _wheel_names(built: Built) -> list[str]:
    with ZipFile(built.wheel) as files:
        return files.namelist()


def _tracked(folder: str) -> set[str]:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", folder], check=True, capture_output=True, text=True
    )
    return set(listed.stdout.splitlines())


def test_the_sdist_has_what_a_builder_needs(built: Built) -> None:
    names = _sdist_names(built)
    assert set(names) >= OF_THE_ROOT
    assert set(names) >= _tracked("src")
    assert set(names) >= _tracked("tests")


def test_the_sdist_has_no_more(built: Built) -> None:
    assert strangers(_sdist_names(built)) == []
    assert built.sdist.stat().st_size < MOST["sdist"]


def test_strangers_are_seen() -> None:
    more = [".ci/run", "docs/explain.png", "tests/frame.png", "experiments/a.py", "src/other/a.py"]
    assert strangers(["README.md", "src/mapdrop/mask.py", *more]) == more


def test_the_wheel_is_the_package(built: Built) -> None:
    names = _wheel_names(built)
    package = {name for name in names if ".dist-info/" not in name}
    assert package == {name.removeprefix("src/") for name in _tracked("src")}
    assert {"mapdrop/py.typed", "mapdrop/vectors.json"} <= package
    assert any(name.startswith("mapdrop/study/templates/") for name in package)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert built.wheel.stat().st_size < MOST["wheel"]


def test_the_wheel_from_the_sdist_is_the_wheel_from_the_tree(built: Built, tmp_path: Path) -> None:
    build(tmp_path, "--wheel")
    (wheel,) = tmp_path.iterdir()
    assert wheel.name == built.wheel.name
    assert wheel.read_bytes() == built.wheel.read_bytes()


def _lacking(metadata: Message) -> list[str]:
    """Return what a page of PyPI should have, and the metadata do not."""
    urls = {url.partition(",")[0] for url in metadata.get_all("Project-URL", [])}
    pythons = {
        line.rpartition(" ")[2]
        for line in metadata.get_all("Classifier", [])
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)
    }
    lacking = [name for name in ("Author", "Summary", "License-Expression") if not metadata[name]]
    lacking += sorted({"Changelog", "Documentation", "Issues", "Source"} - urls)
    return lacking + sorted({"3.10", "3.11", "3.12", "3.13", "3.14"} - pythons)


def test_the_metadata_say_who_where_and_for_which_python(built: Built) -> None:
    assert _lacking(built.metadata) == []


def test_metadata_that_lack_something_are_seen() -> None:
    empty = Message()
    empty["Author"] = "The mapdrop authors"
    empty["Classifier"] = "Programming Language :: Python :: 3.12"
    assert {"Summary", "Source", "3.10", "3.14"} <= set(_lacking(empty))
    assert not {"Author", "3.12"} & set(_lacking(empty))

"""The sdist and the wheel of this tree, built once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from email import message_from_string
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Built:
    """The files of a release: the wheel is built from the sdist, as `build` does by itself."""

    sdist: Path
    wheel: Path

    @property
    def metadata(self) -> Message:
        """What PyPI shows of the wheel."""
        with ZipFile(self.wheel) as files:
            (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
            return message_from_string(files.read(name).decode())


def build(folder: Path, *options: str) -> None:
    """Build into the folder, without a download; what the backend prints is shown on failure."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), *options]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    build(folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)

"""`.ci/run` installs what the tests start, only where it is missing and it may; then it tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.release.conftest import ROOT

pytestmark = pytest.mark.subprocess

UPDATE = "apt-get update --quiet"
INSTALL = "apt-get install --quiet --yes --no-install-recommends"
TEST = "make -j2 test"


def _ran(folder: Path, user: int, *present: str, fails: str = "") -> tuple[int, list[str]]:
    """The exit code, and the commands that the script ran where only `present` is on the PATH."""
    for name in ("dirname", "bash"):
        (folder / name).symlink_to(str(shutil.which(name)))
    log = folder / "log"
    log.touch()
    stubs = {name: f'echo "{name} $*" >> {log}' for name in (*present, "make")}
    if fails:
        stubs[fails] += "\nexit 7"
    for name, body in {**stubs, "id": f"echo {user}"}.items():
        (folder / name).write_text(f"#!{folder / 'bash'}\n{body}\n")
        (folder / name).chmod(0o755)
    script = [str(folder / "bash"), str(ROOT / ".ci" / "run")]
    done = subprocess.run(script, env={"PATH": str(folder)}, check=False, capture_output=True)
    return done.returncode, log.read_text().splitlines()


def test_what_is_missing_is_installed(tmp_path: Path) -> None:
    expected = [UPDATE, f"{INSTALL} chromium nodejs", TEST]
    assert _ran(tmp_path, 0, "apt-get") == (0, expected)


def test_what_is_there_is_not_installed(tmp_path: Path) -> None:
    assert _ran(tmp_path, 0, "apt-get", "chromium") == (0, [UPDATE, f"{INSTALL} nodejs", TEST])


@pytest.mark.parametrize(
    ("user", "present"),
    [(0, ("apt-get", "chromium", "node")), (1000, ("apt-get",)), (0, ())],
    ids=["nothing is missing", "not root", "not Debian"],
)
def test_nothing_is_installed(tmp_path: Path, user: int, present: tuple[str, ...]) -> None:
    assert _ran(tmp_path, user, *present) == (0, [TEST])


@pytest.mark.parametrize("step", ["apt-get", "make"])
def test_a_step_that_fails_fails_the_run(tmp_path: Path, step: str) -> None:
    code, ran = _ran(tmp_path, 0, "apt-get", fails=step)
    assert code == 7
    assert ran[-1].startswith(step)

"""`make release`: what it refuses, and one release from a changed version to a tested wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from tests.conftest import missing
from tools import release

ROOT = Path(__file__).parents[2]
CHANGES = (
    "# Changelog\n\n## 1.2.0 (2026-12-01)\n\n### Added\n\n- A thing.\n\n## 1.1.0 (2026-01-01)\n"
)


def _git(root: Path, *arguments: str) -> None:
    settings = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(root), *settings, *arguments], check=True, capture_output=True)


def _commit_all(root: Path) -> None:
    _git(root, "init", "--quiet")
    _git(root, "add", "--all")
    _git(root, "commit", "--quiet", "--message", "Everything")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of version 1.2.0, of which nothing but the building is missing."""
    root = tmp_path / "checkout"
    (root / "src" / "mapdrop").mkdir(parents=True)
    (root / "src" / "mapdrop" / "__init__.py").write_text('__version__ = "1.2.0"\n')
    (root / "CHANGELOG.md").write_text(CHANGES)
    _commit_all(root)
    return root


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Modules that would be run, with their arguments; a build leaves its two files."""
    commands: list[list[str]] = []

    def run(root: Path, module: str, *arguments: str) -> None:
        commands.append([module, *arguments])
        if module == "build":
            folder = Path(arguments[arguments.index("--outdir") + 1])
            folder.mkdir()
            for name in ("mapdrop-1.2.0.tar.gz", "mapdrop-1.2.0-py3-none-any.whl"):
                (folder / name).touch()

    monkeypatch.setattr(release, "_python", run)
    return commands


def _refusal(root: Path, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        release.main(arguments, root)
    return str(caught.value.code)


def test_a_release_builds_checks_and_tests(
    checkout: Path, started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "dist").mkdir()
    (checkout / "dist" / "mapdrop-1.1.0.tar.gz").touch()  # Of an earlier release: not this one's.
    _git(checkout, "add", "--force", "dist")
    _commit_all(checkout)
    release.main(["--rows", "numpy-lowest-3.10"], checkout)
    dist = checkout / "dist"
    wheel, sdist = dist / "mapdrop-1.2.0-py3-none-any.whl", dist / "mapdrop-1.2.0.tar.gz"
    assert started == [
        ["build", "--no-isolation", "--outdir", str(dist), str(checkout)],
        ["twine", "check", "--strict", str(wheel), str(sdist)],
        ["tox", "run", "--installpkg", str(wheel), *release.STRICT, "-e", "numpy-lowest-3.10"],
    ]
    assert (
        'git tag -a v1.2.0 -m "mapdrop 1.2.0" && git push origin v1.2.0' in capsys.readouterr().out
    )


@pytest.mark.parametrize("file", ["CHANGELOG.md", "new.txt"])
def test_a_tree_with_changes_is_refused(
    checkout: Path, started: list[list[str]], file: str
) -> None:
    with (checkout / file).open("a") as text:
        text.write("\nA line.\n")
    assert re.search(rf"commit or remove what is not committed:\n.*{file}", _refusal(checkout))
    assert not started


def test_a_version_that_is_tagged_is_refused(checkout: Path, started: list[list[str]]) -> None:
    _git(checkout, "tag", "v1.2.0")
    assert "v1.2.0 is tagged: change __version__" in _refusal(checkout)
    assert not started


def test_the_tag_that_starts_the_release_is_the_version_s(
    checkout: Path, started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    _git(checkout, "tag", "v1.2.0")
    assert "the tag is v1.3.0, and the version's is v1.2.0" in _refusal(checkout, "--tag", "v1.3.0")
    assert not started
    release.main(["--tag", "v1.2.0"], checkout)
    assert len(started) == 3
    assert "git tag" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("1.2.0", "1.1.9", "begins with '1.1.9 (2026-12-01)'; its first section must be ## 1.2.0"),
        ("1.2.0", "11.2.0", "its first section must be ## 1.2.0"),
        ("1.2.0 (2026-12-01)", "1.2.0", "its first section must be ## 1.2.0"),
        ("2026-12-01", "unreleased", "dates 1.2.0 'unreleased'; its heading must be as ## 1.2.0 ("),
        ("2026-12-01", "2026-12-32", "dates 1.2.0 '2026-12-32'"),
        ("- A thing.", "", "says nothing of 1.2.0"),
        ("## ", "", "begins with ''"),
    ],
)
def test_a_changelog_without_the_version_is_refused(
    checkout: Path, started: list[list[str]], old: str, new: str, reason: str
) -> None:
    changed = CHANGES.replace(old, new)
    assert changed != CHANGES
    (checkout / "CHANGELOG.md").write_text(changed)
    _commit_all(checkout)
    assert f"no release: CHANGELOG.md {reason}" in _refusal(checkout) or reason in _refusal(
        checkout
    )
    assert not started


def test_a_package_without_a_version_is_refused(checkout: Path, started: list[list[str]]) -> None:
    (checkout / "src" / "mapdrop" / "__init__.py").write_text("")
    assert "has no line __version__" in _refusal(checkout)
    assert not started


@pytest.mark.parametrize("failing", ["build", "twine", "tox"])
def test_a_step_that_fails_ends_the_release(
    checkout: Path, started: list[list[str]], failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = release._python

    def run(root: Path, module: str, *arguments: str) -> None:
        before(root, module, *arguments)
        if module == failing:
            raise subprocess.CalledProcessError(3, ["python", "-m", module])

    monkeypatch.setattr(release, "_python", run)
    assert _refusal(checkout) == f"no release: -m {failing} ended with 3"
    assert started[-1][0] == failing


@pytest.mark.subprocess
def test_the_working_tree_makes_a_release(tmp_path: Path) -> None:
    """The one test in which the wheel is built, installed in a clean environment, and tested."""
    if not (ROOT / ".git").exists():
        missing("the repository")
    root = tmp_path / "mapdrop"
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "-z"],
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith(("benchmarks/", "docs/", "experiments/")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    package, changelog = root / "src" / "mapdrop" / "__init__.py", root / "CHANGELOG.md"
    number = "99.0.0"
    text = package.read_text(encoding="utf-8")
    package.write_text(text.replace(release.version(root), number), encoding="utf-8")
    section = f"## {number} ({date.today()})\n\n- A change.\n\n## "
    text = changelog.read_text(encoding="utf-8")
    changelog.write_text(text.replace("## ", section, 1), encoding="utf-8")
    _commit_all(root)
    done = subprocess.run(
        [sys.executable, "-m", "tools.release"],
        cwd=root, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"mapdrop {number} is ready:" in done.stdout
    assert done.stdout.count("PASSED") >= 2  # twine on each file.
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 500

"""Make a release of the version in src/mapdrop/__init__.py: `make release`.

Looks whether that version may be released, builds it, checks what PyPI will show, and tests the
wheel, installed. It publishes nothing: the last lines say how. The workflow that publishes runs
the same with the tag that started it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

ROW = f"numpy-newest-{sys.version_info.major}.{sys.version_info.minor}"
"""The row of tox.ini that is run if none is named: NumPy alone, on this Python."""

STRICT = ("--skip-missing-interpreters", "false")


class RefusedError(Exception):
    """This may not be released, and why."""


def version(root: Path) -> str:
    """Return the version that the package has in this checkout."""
    text = (root / "src" / "mapdrop" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise RefusedError("src/mapdrop/__init__.py has no line __version__ = ...")
    return found[1]


def check_tree(root: Path) -> None:
    """Refuse a checkout in which anything is changed, or not committed."""
    changed = _git(root, "status", "--porcelain")
    if changed:
        raise RefusedError(f"commit or remove what is not committed:\n{changed}")


def check_tag(root: Path, number: str, tag: str | None) -> None:
    """Refuse a version that was tagged before, or a given tag that is not the version's."""
    expected = f"v{number}"
    if tag is None and _git(root, "tag", "--list", expected):
        raise RefusedError(f"{expected} is tagged: change __version__ in src/mapdrop/__init__.py")
    if tag not in (None, expected):
        raise RefusedError(f"the tag is {tag}, and the version's is {expected}")


def check_changelog(text: str, number: str) -> None:
    """Refuse a changelog whose first section is not this version's, with its day and content."""
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    heading, _, body = sections[0].partition("\n") if sections else ("", "", "")
    found = re.fullmatch(rf"{re.escape(number)} \((.+)\)", heading.strip())
    expected = f"## {number} ({date.today()})"
    if not found:
        raise RefusedError(
            f"CHANGELOG.md begins with {heading!r}; its first section must be {expected}"
        )
    try:
        date.fromisoformat(found[1])
    except ValueError:
        raise RefusedError(
            f"CHANGELOG.md dates {number} {found[1]!r}; its heading must be as {expected}"
        ) from None
    if not re.search(r"^- ", body, re.MULTILINE):
        raise RefusedError(f"CHANGELOG.md says nothing of {number}")


def build(root: Path, folder: Path) -> list[Path]:
    """Build the sdist, and from it the wheel, into an empty folder; return both."""
    shutil.rmtree(folder, ignore_errors=True)
    _python(root, "build", "--no-isolation", "--outdir", str(folder), str(root))
    return sorted(folder.iterdir())


def check_files(root: Path, files: Sequence[Path], rows: str) -> None:
    """Check the metadata as PyPI will, and run rows of tox.ini with the wheel, installed."""
    _python(root, "twine", "check", "--strict", *map(str, files))
    (wheel,) = (file for file in files if file.suffix == ".whl")
    _python(root, "tox", "run", "--installpkg", str(wheel), *STRICT, "-e", rows)


def main(arguments: Sequence[str] | None = None, root: Path = Path(__file__).parents[1]) -> None:
    """Run the command; SystemExit says why it made no release."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument(
        "--rows", default=ROW, help="of tox.ini, as tox -e takes them (%(default)s)"
    )
    parser.add_argument("--tag", help="the tag that is being released, where there is one already")
    options = parser.parse_args(arguments)
    try:
        number = version(root)
        check_tree(root)
        check_tag(root, number, options.tag)
        check_changelog((root / "CHANGELOG.md").read_text(encoding="utf-8"), number)
        files = build(root, root / "dist")
        check_files(root, files, options.rows)
    except RefusedError as problem:
        sys.exit(f"no release: {problem}")
    except subprocess.CalledProcessError as problem:
        sys.exit(f"no release: {' '.join(problem.cmd[1:])} ended with {problem.returncode}")
    print(f"\nmapdrop {number} is ready:", *files, sep="\n  ")
    if options.tag is None:
        print("Publish it by its tag, which starts .github/workflows/release.yml:")
        print(f'  git tag -a v{number} -m "mapdrop {number}" && git push origin v{number}')


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _python(root: Path, module: str, *arguments: str) -> None:
    """Run a module of this environment in the checkout, and show what it prints."""
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=root, check=True)


if __name__ == "__main__":
    main()

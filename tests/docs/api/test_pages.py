"""The pages of the reference: every public name, and the commands as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.api.test_sections import PAGES
from tests.docs.test_docstrings import PUBLIC

ALSO = "mapdrop.torch.compact"  # Two of its names are those of mapdrop.torch, and shown as such.


def shown(pages: Path) -> set[str]:
    """What the pages show: names that mkdocstrings finds, and anchors of the others."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted(pages.glob("*.md")))
    return {
        *re.findall(r"^::: (\S+)$", text, re.M),
        *re.findall(r"^\[\]\(\)\{ #(\S+) \}$", text, re.M),
    }


def check_all_shown(pages: Path) -> None:
    public = {
        name
        for name, (module, own) in PUBLIC.items()
        if module != ALSO or f"mapdrop.torch.{own}" not in PUBLIC
    }
    assert not public - shown(pages)


def commands() -> str:
    """Return the page of the commands, as Typer writes it."""
    options = ["utils", "docs", "--name", "mapdrop", "--title", "The command line"]
    done = subprocess.run(
        [sys.executable, "-m", "typer", "mapdrop.cli", *options],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_commands(page: str) -> None:
    assert page.split() == commands().split(), (
        "run: .venv/bin/typer mapdrop.cli utils docs --name mapdrop --title 'The command line' "
        "--output docs/api/command-line.md"
    )


def test_every_public_name_is_shown() -> None:
    check_all_shown(PAGES)


def test_shown_twin(tmp_path: Path) -> None:
    for page in PAGES.glob("*.md"):
        if page.name != "rates.md":
            (tmp_path / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(AssertionError):
        check_all_shown(tmp_path)


@pytest.mark.subprocess
def test_commands_are_as_they_are() -> None:
    page = (PAGES / "command-line.md").read_text(encoding="utf-8")
    check_commands(page)
    with pytest.raises(AssertionError):
        check_commands(page.replace("--seed", "--sede"))

"""Pages, docstrings and comments have no known misspelling, and are in British English."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, WRITTEN

SOURCES = sorted((ROOT / "src").rglob("*.py"))
# Names of commands, folders, classes and papers, and words that are British as well.
BOTH = {"labeled", "localization", "localize", "optimizer", "practice", "program", "writable"}


@cache
def american() -> set[str]:
    """Return the American forms in codespell's list of those that differ from the British."""
    data = resources.files("codespell_lib") / "data" / "dictionary_en-GB_to_en-US.txt"
    pairs = (line.partition("->") for line in data.read_text("utf-8").splitlines())
    return {word.strip(" ,") for _, _, word in pairs} - BOTH - {""}


def of_page(text: str) -> str:
    """Return the prose of a page: without code, comments and addresses."""
    text = re.sub(r"^( *)```.*?^\1```$|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    # Titles of papers stand in single asterisks.
    return re.sub(r"`[^`]*`|\]\(.*?\)|(?<!\*)\*[^*\n]+\*(?!\*)", "", text)


def of_source(text: str) -> str:
    """Return the prose of a module: docstrings without examples, and comments."""
    return re.sub(r"`[^`]*`|^ *(>>>|\.\.\.) .*$", "", "\n".join(_prose(text)), flags=re.MULTILINE)


def _prose(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def foreign(prose: str) -> list[str]:
    return [word for word in re.findall(r"\b[A-Za-z]+\b", prose) if word.lower() in american()]


def test_pages_are_british() -> None:
    ours = [page for page in PAGES if page != WRITTEN]
    found = {page: foreign(of_page((ROOT / page).read_text("utf-8"))) for page in ours}
    assert {page: words for page, words in found.items() if words} == {}


def test_docstrings_and_comments_are_british() -> None:
    found = {str(path): foreign(of_source(path.read_text("utf-8"))) for path in SOURCES}
    assert {path: words for path, words in found.items() if words} == {}


def test_american_words_are_found() -> None:
    assert len(american()) > 400
    page = (
        "The color `color` of NO_COLOR, *Color*.\n\n```python\ncolor\n```\n[a](color.md) Behavior\n"
    )
    assert foreign(of_page(page)) == ["color", "Behavior"]
    source = '"""The color.\n\n>>> color\n"""\ncolor = 1  # Its neighbor.\n'
    assert foreign(of_source(source)) == ["color", "neighbor"]


def codespell(*paths: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codespell_lib", *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_no_word_is_misspelt() -> None:
    done = codespell(*PAGES, *SOURCES)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("text", ["It recieves a mask.", "Whis is a mask, and teh seed."])
def test_misspelt_words_are_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)
    assert codespell(tmp_path / "page.md").returncode != 0

"""Each page's blocks of code run, and its commands exist: see `pages.py` and `commands.py`."""

from __future__ import annotations

import doctest
import random
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mapdrop.cli import app
from tests.conftest import framework, missing
from tests.docs import commands
from tests.docs.pages import PAGES, ROOT, WRITTEN, run

# A package that an interpreter or a machine may not have; any other that is missing is an error.
_OPTIONAL = {"equinox", "flax", "jax", "keras", "peft", "tensorflow", "torch", "transformers"}

COMMANDS = {page: [*commands.named((ROOT / page).read_text("utf-8"))] for page in PAGES}
EXPLAINED = {
    shlex.join(words): words[1:]
    for lines in COMMANDS.values()
    for words in map(commands.words, lines)
    if words[:2] == ["mapdrop", "explain"]
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new working directory, where what a page writes is nobody's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if page != WRITTEN])
def test_code(page: str, folder: Path) -> None:
    random.seed(0)
    framework("torch").manual_seed(0)
    try:
        run(ROOT / page)
    except ModuleNotFoundError as problem:
        if problem.name not in _OPTIONAL:
            raise
        missing(problem.name or "")


@pytest.mark.parametrize("page", [page for page, lines in COMMANDS.items() if lines])
def test_commands(page: str) -> None:
    for line in COMMANDS[page]:
        commands.check(line)


@pytest.mark.parametrize("arguments", EXPLAINED.values(), ids=EXPLAINED)
def test_explain_runs(arguments: list[str], folder: Path) -> None:
    from PIL import Image

    for name in ("cat.jpg", "dog.jpg"):
        Image.fromarray(np.arange(48 * 72 * 3, dtype=np.uint8).reshape(48, 72, 3)).save(name)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("command", ["", "study", "localize", "localize train", "bench", "audit"])
def test_help_is_shown(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage: " in done.output


def test_every_page_is_found() -> None:
    assert {"README.md", "docs/faq.md", "experiments/README.md"} <= set(PAGES)
    blocks = sum((ROOT / page).read_text("utf-8").count("```python") for page in PAGES)
    assert blocks > 60
    assert shutil.which("make")


# --- Twins: pages that are wrong.

WRONG = {
    "an error": "```python\n1 / 0\n```\n",
    "another result": "```python\n>>> 1 + 1\n3\n```\n",
    "another error": "```python\n>>> 1 / 0\nZeroDivisionError: another\n```\n",
    "no error": "```python\n>>> 1 / 1\nZeroDivisionError: division by zero\n```\n",
    "an error that is not shown": "```python\n>>> 1 / 0\n```\n",
    "a warning": "```python\nimport warnings\nwarnings.warn('loud')\n```\n",
    "another output": "```python\nprint('a 0.5')\n```\n\n```output\nb 0.5\n```\n",
    "another count in it": "```python\nprint('3 maps')\n```\n\n```output\n4 maps\n```\n",
    "output of nothing": "```python\nprint('a')\n```\n\n```python\n1\n```\n\n```output\na\n```\n",
    "a name of another page": "```python\nprint(x)\n```\n",
    "hidden code": "<!-- invisible-code-block: python\nassert False\n-->\n",
    "code in a list": "- Here:\n\n    ```python\n    1 / 0\n    ```\n",
    "code of no kind": "```\n1 / 0\n```\n",
    "code of an unknown kind": "```pyhton\n1 / 0\n```\n",
    "a command's other output": "```console\n$ mapdrop explain 'b c -> z'\nerror: no\n```\n",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_wrong_page_fails(text: str, folder: Path) -> None:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises((AssertionError, ArithmeticError, NameError, UserWarning)):
        run(page)


RIGHT = """
<!-- invisible-code-block: python
closed = []
cleanup.callback(closed.append, 1)
-->
```python
x = 2
print("measured: 17.3 ms, 40%")
```

```output
measured: 9.1 ms,  38%
```

- In a list, with the page's names, and in the code's own file:

    ```python title="net.py"
    import sys

    assert (x, closed) == (2, [])
    assert sys._getframe().f_code.co_filename == "net.py"
    x += 1
    ```

```python
>>> x
3
>>> raise ValueError("no\\n  and why")
ValueError: no
  and why
```

```console
$ mapdrop explain "b c -> z"
error: 'z' is not an axis on the left
  b c -> z
         ^
  instead: name it on the left, or take it out; on the left are b, c
```

```text
Not code.
```
"""


def test_a_right_page_passes(folder: Path) -> None:
    page = folder / "page.md"
    page.write_text(RIGHT, encoding="utf-8")
    run(page)


BROKEN = [
    "mapdrop explane",
    "mapdrop explain --sizes k=3",
    "mapdrop localize train DATA --trainsize 80",
    "mapdrop localize predict run --uncertainty many",
    "--dry-runs",
    "make stduy",
    'pip install "mapdrop[pytorch]"',
    "python -m benchmarks.compcat",
    "python -m experiments runs scenes",
    "torchrun --nproc-per-node 4 -m mapdrop localise train DATA",
    ".venv/bin/pytest tests/spec/test_patern.py",
    "rm -rf /",
]


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_command_fails(line: str) -> None:
    with pytest.raises(AssertionError):
        commands.check(line)


def test_commands_are_found() -> None:
    text = (
        "`mapdrop x` `mapdrop` `--a b`\n\n    make y  # why\n\n```shell\npip z \\\n  w\n```\n"
        "- a\n\n    python -m text of the list\n\n```python\nmapdrop = 1\n```\n"
    )
    assert [*commands.named(text)] == ["pip z    w", "    make y  # why", "mapdrop x", "--a b"]
    assert doctest.testmod(commands).failed == 0

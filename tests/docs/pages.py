"""The pages of the documentation, and how their blocks are run: in order, one namespace a page.

What examples need and readers don't stands in comments, `<!-- invisible-code-block: python ...
-->`, which run like any other block; `cleanup` there is an `ExitStack`, closed after the page.
Each fence names its kind:

- `python` is run. Where it begins with `>>>` it is compared, as by `doctest`: an error is its last
  lines, without `Traceback`, and a warning is an error. `title="net.py"` is what the code's file
  is called.
- `output` is what the block before it printed, but for what is measured: decimals, percentages.
- `console` is commands behind `$`, which are run, with what they print.
- `shell` is commands; `commands.py` checks those, wherever they stand.
- `text`, `csv` and `mermaid` are no code.
"""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Callable, Iterable
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from pathlib import Path

from sybil import Document, Example, Region
from sybil.evaluators.doctest import DocTest, DocTestRunner
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, FencedCodeBlockLexer
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
_WHERE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md", "experiments/*.md")
PAGES = sorted(page.relative_to(ROOT).as_posix() for name in _WHERE for page in ROOT.glob(name))
# Typer writes it, and `tests/docs/api` compares it with what Typer writes now.
WRITTEN = "docs/api/command-line.md"
NO_CODE = {"shell", "text", "csv", "mermaid"}


def run(page: Path) -> None:
    """Run every block of a page. Raises AssertionError for what is not as the page says."""
    with ExitStack() as cleanup:
        document = Document.parse(str(page), _Blocks())
        document.namespace["cleanup"] = cleanup
        for example in document.examples():
            example.evaluate()


class _Interactive(doctest.DocTestParser):
    """Takes an error for what a terminal shows last, `ValueError: p is ...`."""

    _EXCEPTION_RE = re.compile(r"(?P<msg>[\w.]+(?:Error|Warning|Exit): .*)", re.DOTALL)


class _Blocks:
    """A parser of Sybil's: finds the blocks of one page, and says how each is run."""

    def __init__(self) -> None:
        self.printed = ""
        self.kinds: dict[str, Callable[[Example], str | None]] = {
            "python": self._python,
            "output": self._output,
            "console": self._console,
        }

    def __call__(self, document: Document) -> Iterable[Region]:
        hidden = DirectiveInHTMLCommentLexer("invisible-code-block", "python")
        for region in (*FencedCodeBlockLexer(".*")(document), *hidden(document)):
            kind, _, _ = region.lexemes.get("language", "python").partition(" ")
            if kind in NO_CODE:
                continue
            if kind not in self.kinds:
                where = document.line_column(region.start)
                raise AssertionError(f"{document.path}, {where}: a fence of no kind, {kind!r}")
            region.parsed, region.evaluator = region.lexemes["source"], self.kinds[kind]
            yield region

    def _python(self, example: Example) -> str | None:
        if example.parsed.startswith(">>>"):
            return self._interactive(example)
        title = re.search('title="(.*)"', example.region.lexemes.get("language", ""))
        line = example.line + example.parsed.line_offset
        file, above = (title[1], "") if title else (example.path, "\n" * line)
        code = compile(above + example.parsed, file, "exec", dont_inherit=True)
        with redirect_stdout(StringIO()) as stdout:
            exec(code, example.namespace)
        self.printed = stdout.getvalue()
        return None

    def _interactive(self, example: Example) -> str:
        examples = _Interactive().get_examples(example.parsed)
        told: list[str] = []
        test = DocTest(examples, example.namespace, example.path, None, example.line, None)
        DocTestRunner(0).run(test, clear_globs=False, out=told.append)
        return "".join(told)

    def _output(self, example: Example) -> None:
        assert _unmeasured(self.printed) == _unmeasured(example.parsed)

    def _console(self, example: Example) -> None:
        from mapdrop.cli import app

        for part in re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            command, *arguments = shlex.split(line, comments=True)
            assert command == "mapdrop"
            result = CliRunner(env={"COLUMNS": "100"}).invoke(app, arguments)
            assert result.output.split() == output.split()


def _unmeasured(text: str) -> list[list[str]]:
    """Return the words of each line, with a mark for each figure that is not the same again."""
    return [re.sub(r"\d+\.\d+%?|\d+%", "#", line).split() for line in text.strip().splitlines()]

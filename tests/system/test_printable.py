"""Text from outside, as it is shown."""

from __future__ import annotations

import io
import unicodedata

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from mapdrop.system.printable import drawable, plain, printable, printable_lines, stop

CASES = {
    "escape sequence": ("a\x1b[2Jb", r"a\x1b[2Jb"),
    "C1": ("a\x9b2Jb", r"a\x9b2Jb"),
    "line break": ("a\nerror: b\r", r"a\nerror: b\r"),
    "bidirectional": ("a\u202egnp.exe", r"a\u202egnp.exe"),
    "isolate": ("a\u2066b", r"a\u2066b"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "not UTF-8": (b"caf\xe9.png".decode(errors="surrogateescape"), r"caf\udce9.png"),
    "letters": ("naïve 日本 éa 😀", "naïve 日本 éa 😀"),
}


@pytest.mark.parametrize(("text", "shown"), CASES.values(), ids=CASES)
def test_what_commands_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_all_that_is_shown_is_harmless_and_can_be_encoded(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(sign) for sign in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown.encode().decode() == shown
    assert printable(shown) == shown
    assert printable_lines(text).split("\n") == [printable(line) for line in text.split("\n")]


def test_rich_reads_no_markup_in_it() -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=io.StringIO(), width=80)
    table = Table(title=plain("mouse[/]"))
    table.add_row(plain("[bold]snout[/bold] :smile:"))
    console.print(table)
    with console.status(plain("[/]")):
        pass
    assert "mouse[/]" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]snout[/bold] :smile:" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["$", "$x$", r"$\frac$", r"a\$b$", "_nose", "a\nb"])
def test_matplotlib_draws_the_name_itself(name: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axis = figure.subplots()
    axis.plot([0, 1], label=drawable(name))
    axis.set_title(drawable(name))
    legend = axis.legend()
    figure.savefig(io.BytesIO(), format="png")
    shown = [text.get_text() for text in (*legend.get_texts(), axis.title)]
    assert [text.lstrip(" ").replace(r"\$", "$") for text in shown] == [printable(name)] * 2


@pytest.mark.parametrize("no_color", [None, "1"], ids=["color", "NO_COLOR"])
def test_an_error_is_red_unless_colours_are_not_wanted(
    no_color: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    error = Terminal()
    monkeypatch.setattr("sys.stderr", error)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    with pytest.raises(typer.Exit) as stopped:
        stop("there is no a\x1b]0;b\x07.png", 3)
    assert stopped.value.exit_code == 3
    said = error.getvalue()
    assert r"error: there is no a\x1b]0;b\x07.png" in said
    assert ("\x1b[31m" in said) is (no_color is None)

"""What the user of a command can correct ends it with a message; a fault of ours does not."""

from __future__ import annotations

import pytest
import typer

from mapdrop.tools.errors import user_errors


def ended(problem: Exception, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and the message of a command that meets the problem."""
    with (
        pytest.raises(typer.Exit) as caught,
        user_errors(arguments=(ValueError,), others=(LookupError, OSError)),
    ):
        raise problem
    return caught.value.exit_code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("problem", "code"),
    [(ValueError("p is 2"), 2), (LookupError("no data"), 1), (OSError("no disk"), 1)],
    ids=repr,
)
def test_arguments_are_2_and_all_else_is_1(
    problem: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(problem, capsys) == (code, f"error: {problem}\n")


@pytest.mark.parametrize(("package", "extra"), [("rich", "study"), ("ray", "ray"), ("av", "video")])
def test_a_package_that_is_missing_is_named_with_its_extra(
    package: str, extra: str, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = ModuleNotFoundError(f"No module named {package!r}", name=package)
    text = f'error: {package} is not installed: pip install "mapdrop[{extra}]"\n'
    assert ended(problem, capsys) == (1, text)


@pytest.mark.parametrize(
    "problem",
    [
        TypeError("a fault"),
        ValueError("a fault, too, where no argument is read"),
        ModuleNotFoundError("No module named 'mapdrop.kernel'", name="mapdrop.kernel"),
    ],
    ids=repr,
)
def test_faults_of_the_program_keep_their_traceback(problem: Exception) -> None:
    with pytest.raises(type(problem)) as caught, user_errors(others=(OSError,)):
        raise problem
    assert caught.value is problem


def test_a_bad_parameter_cannot_command_the_terminal() -> None:
    with pytest.raises(typer.BadParameter, match=r"\\x1b\[2J"), user_errors():
        raise typer.BadParameter("\x1b[2J")

"""How the texts of options are read."""

from __future__ import annotations

import typer


def words(text: str) -> tuple[str, ...]:
    """ "a, b" is ("a", "b")."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def numbers(text: str, option: str) -> tuple[float, ...]:
    """ "0.1,0.5" is (0.1, 0.5).

    Raises:
        typer.BadParameter: for anything that isn't a number, and for nothing at all.
    """
    try:
        found = tuple(float(word) for word in words(text))
    except ValueError:
        found = ()
    if not found:
        raise typer.BadParameter(
            f"expected numbers such as 0.1,0.5, got {text!r}", param_hint=option
        )
    return found


def counts(text: str, option: str) -> tuple[int, ...]:
    """ "10,20" is (10, 20), whole numbers from 1.

    Raises:
        typer.BadParameter: for anything else, and for nothing at all.
    """
    found = words(text)
    if not found or not all(word.isdecimal() and int(word) for word in found):
        raise typer.BadParameter(
            f"expected whole numbers such as 10,20,40, got {text!r}", param_hint=option
        )
    return tuple(int(word) for word in found)


def pixels(text: str, option: str) -> tuple[int, int]:
    """ "160x120" is (160, 120), a width and a height of 16 to 4096.

    Raises:
        typer.BadParameter: for anything else.
    """
    sides = [int(side) for side in text.lower().split("x") if side.isdecimal()]
    if len(sides) != 2 or not all(16 <= side <= 4096 for side in sides):
        raise typer.BadParameter(
            f"expected a width and a height from 16 to 4096, as 160x120, got {text!r}",
            param_hint=option,
        )
    return sides[0], sides[1]

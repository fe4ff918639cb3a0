"""Parse the texts of command-line options."""

from __future__ import annotations

import typer


def parse_names(text: str) -> tuple[str, ...]:
    """Parse "a, b" as ("a", "b")."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """Parse "0.1,0.5" as (0.1, 0.5).

    Raises:
        typer.BadParameter: for an empty text, or one that isn't a list of numbers.
    """
    try:
        values = tuple(float(item) for item in parse_names(text))
    except ValueError:
        values = ()
    if not values:
        raise typer.BadParameter(
            f"expected numbers such as 0.1,0.5, got {text!r}", param_hint=option
        )
    return values


def parse_counts(text: str, option: str) -> tuple[int, ...]:
    """Parse "10,20" as (10, 20), positive integers.

    Raises:
        typer.BadParameter: for anything else.
    """
    values = parse_names(text)
    if not values or not all(item.isdecimal() and int(item) for item in values):
        raise typer.BadParameter(
            f"expected integers such as 10,20,40, got {text!r}", param_hint=option
        )
    return tuple(int(item) for item in values)


def parse_pairs(text: str, option: str) -> tuple[tuple[str, str], ...]:
    """Parse "FL:FR, BL:BR" as (("FL", "FR"), ("BL", "BR")).

    Raises:
        typer.BadParameter: for anything else.
    """
    pairs = []
    for item in parse_names(text):
        one, _, other = (part.strip() for part in item.partition(":"))
        if not one or not other:
            raise typer.BadParameter(
                f"expected pairs such as FL:FR,BL:BR, got {text!r}", param_hint=option
            )
        pairs.append((one, other))
    return tuple(pairs)


def parse_size(text: str, option: str) -> tuple[int, int]:
    """Parse "160x120" as (160, 120), a width and a height from 16 to 4096.

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

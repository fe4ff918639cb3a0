"""`mapdrop explain`: what a pattern does, in numbers, as a picture, and in other frameworks."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

import mapdrop
from mapdrop.spec.mask_spec import Sizes, mask_spec
from mapdrop.tools.errors import user_errors
from mapdrop.tools.explain.request import Request

# Sizes are keyword arguments of the library's functions, beside these.
_RESERVED = {
    name for call in (mapdrop.drop, mapdrop.mask) for name in inspect.signature(call).parameters
}


def explain(
    pattern: Annotated[
        str, typer.Argument(help="What shares a coin: 'b h w c -> b c', 'b c h w -> b h w', ...")
    ] = "b h w c -> b c",
    p: Annotated[float, typer.Option("--p", help="The fraction to drop, from 0 to 1.")] = 0.5,
    seed: Annotated[int, typer.Option(help="The mask's seed.")] = 0,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="A photograph of your own; give it again for more, up to 4."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to write the picture.")] = Path(
        "mapdrop-explain.png"
    ),
    shape: Annotated[
        str, typer.Option(help="Numbers for an array of this shape, 32,56,56,256; no picture.")
    ] = "",
    size: Annotated[
        list[str] | None, typer.Option(help="The size of a name inside a group: k=4.")
    ] = None,
    block: Annotated[str, typer.Option(help="Drop blocks of these sizes: h=7,w=7.")] = "",
    exact: Annotated[
        str | None, typer.Option(help="A coin axis along which the number of survivors is fixed.")
    ] = None,
    balance: Annotated[
        str | None, typer.Option(help="A coin axis across which survivors are spread evenly.")
    ] = None,
) -> None:
    """Show what a pattern drops, beside ordinary dropout, whole pixels, whole maps and blocks.

    Prints the coins' shape and number, the drop that is expected and the one that happened, and
    the calls of other frameworks that mean the same; writes a picture (PNG).
    """
    with user_errors(arguments=(ValueError,)):
        # Here, because these take long to import, and not everybody has them.
        from mapdrop.tools.explain.show import report, show

        blocks, sizes = _sizes("--block", block.split(",") if block else []), _sizes("--size", size)
        # A line break is a space to the pattern; to a terminal it may be more.
        spec = mask_spec(" ".join(pattern.split()), p, exact, balance, blocks, sizes=sizes)
        request = Request(spec, seed)
        if shape:
            report(request, _shape(shape))
        else:
            show(request, image or [], out)


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(_positive(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--shape {text} is not a shape: sizes from 1 on, as 32,56,56,256"
        ) from None


def _sizes(option: str, given: list[str] | None) -> Sizes:
    """Read name=number pairs."""
    sizes: dict[str, int] = {}
    for pair in given or []:
        name, _, number = (part.strip() for part in pair.partition("="))
        if name in sizes:
            raise ValueError(f"{option} {pair}: {name!r} has a size already, {sizes[name]}")
        try:
            sizes[name] = _positive(number)
        except ValueError:
            raise ValueError(f"{option} {pair} is not a size: write name=number, as k=4") from None
        if name in _RESERVED:
            raise ValueError(f"{option} {pair}: {name!r} has a meaning of its own, rename the axis")
    return tuple(sizes.items())


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number

"""Print and write what `mapdrop explain` shows, once its arguments are read."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from mapdrop.spec.pattern import Pattern
from mapdrop.system.printable import plain
from mapdrop.tools.explain.cases import cases
from mapdrop.tools.explain.equivalents import equivalents
from mapdrop.tools.explain.filters import feature_maps
from mapdrop.tools.explain.layout import Layout, read_layout
from mapdrop.tools.explain.numbers import numbers
from mapdrop.tools.explain.photographs import photographs, pixels
from mapdrop.tools.explain.picture import picture
from mapdrop.tools.explain.request import Request
from mapdrop.tools.explain.structure import structure
from mapdrop.tools.explain.terminal import call_table, count_table, pictures


def show(request: Request, files: list[Path], out: Path) -> None:
    """Show photographs through the filters and the pattern, on the terminal and in a file.

    Raises:
        ValueError: for what the user can correct.
    """
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: the picture is a PNG, so its name ends in .png")
    if not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    layout = read_layout(Pattern.parse(request.pattern))
    images = photographs(files)
    array = layout.arrange(feature_maps(pixels(images)))
    shown = cases(request, layout, array.shape)
    maps = layout.restore(array)
    report(request, array.shape, layout)
    console = Console(highlight=False)
    console.print()
    console.print(pictures(console, maps, shown))
    try:
        picture(images[: len(maps)], maps, shown).save(out)
    except OSError as problem:
        raise ValueError(f"--out {out} cannot be written: {problem.strerror}") from problem
    console.print(plain(f"All {maps.shape[-1]} maps, whole: {out}"), soft_wrap=True)


def report(request: Request, shape: tuple[int, ...], layout: Layout | None = None) -> None:
    """Print the numbers for an array of this shape, and what means the same elsewhere.

    Raises:
        ValueError: for what the user can correct.
    """
    counts = numbers(request, shape)
    law = structure(request.bind(shape))
    console = Console(highlight=False)
    console.print(count_table(request, counts, layout))
    console.print()
    console.print(call_table(request, equivalents(law, shape, request.p)))

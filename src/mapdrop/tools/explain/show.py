"""What `mapdrop explain` prints and writes, once its arguments are read."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from mapdrop.spec.pattern import Pattern
from mapdrop.system.printable import plain
from mapdrop.tools.explain.asked import Asked
from mapdrop.tools.explain.cases import cases
from mapdrop.tools.explain.equivalents import equivalents
from mapdrop.tools.explain.filters import feature_maps
from mapdrop.tools.explain.layout import Layout, read_layout
from mapdrop.tools.explain.numbers import numbers
from mapdrop.tools.explain.photographs import photographs, pixels
from mapdrop.tools.explain.picture import picture
from mapdrop.tools.explain.structure import structure
from mapdrop.tools.explain.terminal import call_table, count_table, pictures


def show(asked: Asked, files: list[Path], out: Path) -> None:
    """Photographs through the filters and the pattern, to the terminal and to a file.

    Raises ValueError for what the user can mend.
    """
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: the picture is a PNG, so its name ends in .png")
    if not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    layout = read_layout(Pattern.parse(asked.pattern))
    images = photographs(files)
    array = layout.arrange(feature_maps(pixels(images)))
    shown = cases(asked, layout, array.shape)
    maps = layout.restore(array)
    report(asked, array.shape, layout)
    console = Console(highlight=False)
    console.print()
    console.print(pictures(console, maps, shown))
    try:
        picture(images[: len(maps)], maps, shown).save(out)
    except OSError as problem:
        raise ValueError(f"--out {out} cannot be written: {problem.strerror}") from problem
    console.print(plain(f"All {maps.shape[-1]} maps, whole: {out}"), soft_wrap=True)


def report(asked: Asked, shape: tuple[int, ...], layout: Layout | None = None) -> None:
    """The numbers for an array of this shape, and what means the same elsewhere.

    Raises ValueError for what the user can mend.
    """
    counts = numbers(asked, shape)
    law = structure(asked.plan(shape))
    console = Console(highlight=False)
    console.print(count_table(asked, counts, layout))
    console.print()
    console.print(call_table(asked, equivalents(law, shape, asked.p)))

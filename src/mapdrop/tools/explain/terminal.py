"""Show numbers, equivalents, and small pictures side by side in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from mapdrop.spec.pattern import Pattern
from mapdrop.tools.explain.cases import Case
from mapdrop.tools.explain.colours import DROPPED, NEGATIVE, POSITIVE, paint
from mapdrop.tools.explain.equivalents import Equivalent
from mapdrop.tools.explain.filters import NAMES, FeatureMaps
from mapdrop.tools.explain.layout import MEANING, Layout
from mapdrop.tools.explain.numbers import Numbers
from mapdrop.tools.explain.request import Request
from mapdrop.tools.explain.sentences import BLIND, fall_together, number_of, tied

SHOWN = (0, 1, 8)  # FeatureMaps: two neighbours and a distant one, so that groups can be seen.
ROWS = 10  # Of values in each map, at most; an even number.
_FAINT = Style(dim=True)


def count_table(request: Request, counts: Numbers, layout: Layout | None) -> RenderableType:
    """Return what the pattern does, in words and numbers."""
    table = _grid()
    table.add_row("array", Text(f"[{', '.join(map(str, counts.shape))}]"))
    if layout is not None:
        roles = (f"{n} {MEANING[role]}" for role, n in zip(layout.roles, counts.shape, strict=True))
        table.add_row("", Text(", ".join(roles), _FAINT))
    table.add_row("mask", Text(counts.mask_shape))
    product = " x ".join(f"{name} {n}" for name, n in zip(counts.names, counts.coins, strict=True))
    table.add_row("coins", Text(f"{counts.count:,}" + (f" ({product})" if product else "")))
    table.add_row("a coin has", Text(number_of(counts.per_coin, "value")))
    table.add_row("expected", Text(f"{counts.expected:.1%} dropped"))
    fallen = f"{counts.actual:.1%} dropped: {counts.fallen:,} of {number_of(counts.count, 'coin')}"
    table.add_row(f"seed {request.seed}", Text(fallen))
    table.add_row("kept values", Text(f"times {counts.scale:.4g}"))
    sentences = [fall_together(Pattern.parse(request.pattern)), tied(request, counts)]
    title = Text.assemble((request.pattern, "bold"), f"   p = {request.p:g}")
    return Group(title, *map(Text, filter(None, sentences)), "", table)


def call_table(request: Request, found: Sequence[Equivalent]) -> RenderableType:
    """Return a table of the calls that mean the same."""
    table = _grid()
    table.add_row("mapdrop", Text(request.call))
    last = ""
    for entry in (entry for entry in found if entry.call):
        text = Text(entry.call)
        if entry.near:
            text.append(f"\n{entry.note}", _FAINT)
        table.add_row("" if entry.framework == last else entry.framework, text)
        last = entry.framework
    without: dict[str, list[str]] = {}
    for entry in (entry for entry in found if not entry.call):
        without.setdefault(entry.note, []).append(entry.framework)
    for note, frameworks in without.items():
        table.add_row("no equivalent", Text(f"{', '.join(frameworks)}: {note}", _FAINT))
    return Group(Text("The same in other words", "bold"), table)


def pictures(console: Console, maps: FeatureMaps, shown: Sequence[Case]) -> RenderableType:
    """Draw the middle of some maps of two photographs, before and after each case."""
    width = max(1, min(maps.shape[2], console.width // (1 + len(shown)) - 1))
    # Where there is colour, two values stand one above the other in a character.
    coloured = console.color_system is not None and not console.no_color
    height = min(ROWS if coloured else ROWS // 2, maps.shape[1])
    window = _middle(maps, height, width)
    draw = _blocks if coloured else _signs
    names = [Text("before", "bold"), *(Text(_short(case.name), "bold") for case in shown)]
    shapes = [Text(), *(Text(" ".join(case.brief), _FAINT) for case in shown)]
    parts: list[RenderableType] = [_columns(width, names, shapes)]
    for sample in range(min(2, len(maps))):
        for number in SHOWN:
            values = maps[sample, :, :, number][window]
            untouched = np.zeros(values.shape, bool)
            dropped = (case.dropped[sample, :, :, number][window] for case in shown)
            parts.append(
                Text(f"photograph {sample + 1}, map {number + 1}: {NAMES[number]}", _FAINT)
            )
            parts.append(_columns(width, [draw(values, d) for d in (untouched, *dropped)]))
    return Group(*parts, "", _legend(coloured), Text(BLIND))


def _columns(width: int, *rows: list[Text]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    for _ in rows[0]:
        table.add_column(width=width, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _blocks(values: FeatureMaps, dropped: NDArray[np.bool_]) -> Text:
    """Draw half blocks: the upper value as the foreground, the lower one as the background."""
    colours = paint(values, dropped)
    if len(colours) % 2:
        colours = colours.repeat(2, axis=0)
    lines = []
    for upper, lower in zip(colours[::2], colours[1::2], strict=True):
        line = Text()
        for above, below in zip(upper, lower, strict=True):
            line.append("▀", Style(color=_rgb(above), bgcolor=_rgb(below)))
        lines.append(line)
    return Text("\n").join(lines)


def _signs(values: FeatureMaps, dropped: NDArray[np.bool_]) -> Text:
    """Draw without colour: the sign of what is kept, a dot for what was dropped."""
    signs = np.where(np.abs(values) < 0.1, "0", np.where(values < 0, "-", "+"))
    return Text("\n".join("".join(row) for row in np.where(dropped, "·", signs)))


def _legend(coloured: bool) -> Text:
    if not coloured:
        return Text("- below 0   0 near 0   + above 0   · dropped: set to 0")
    swatches = (("below 0", NEGATIVE), ("above 0", POSITIVE), ("dropped: set to 0", DROPPED))
    return Text("   ").join(Text.assemble(("██", _rgb(c)), f" {words}") for words, c in swatches)


def _middle(maps: FeatureMaps, height: int, width: int) -> tuple[slice, slice]:
    top, left = (maps.shape[1] - height) // 2, (maps.shape[2] - width) // 2
    return slice(top, top + height), slice(left, left + width)


def _rgb(colour: Sequence[int] | NDArray[np.uint8]) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in colour)


def _short(name: str) -> str:
    return {"your pattern": "yours"}.get(name, name.removeprefix("whole ").removeprefix("single "))


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style=_FAINT, no_wrap=True)
    table.add_column(overflow="fold")
    return table

"""Draw feature maps before the pattern, after it, and after the usual others at the same p."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mapdrop.spec.pattern import Pattern
from mapdrop.tools.explain.cases import YOURS, Case
from mapdrop.tools.explain.colours import DROPPED, NEGATIVE, POSITIVE, ZERO, Colours, paint
from mapdrop.tools.explain.filters import NAMES, FeatureMaps
from mapdrop.tools.explain.sentences import BLIND, fall_together, number_of, tied
from mapdrop.tools.explain.sheet import ACCENT, FAINT, INK, Sheet, rgb

WIDTH = 1804
MARGIN, GAP, ZOOM = 16, 4, 4
_PHOTOGRAPH = (330, 220)
_COLUMNS = (440, 860, 1270, 1560)
_HEADER, _TITLE, _NAMES, _SPACE = 250, 44, 24, 26


def picture(images: Sequence[Image.Image], maps: FeatureMaps, shown: Sequence[Case]) -> Sheet:
    """Draw the photographs, their feature maps (b, h, w, c), and each case under the other.

    The first case is the user's own.
    """
    before = strip(maps, np.zeros(maps.shape, bool))
    after = [strip(maps, case.dropped) for case in shown]
    head = -(-len(images) // 2) * (_PHOTOGRAPH[1] + GAP)
    top = MARGIN + max(head, _HEADER) + _SPACE
    tall = top + _TITLE + _NAMES + len(before)
    sheet = Sheet(WIDTH, tall + sum(_SPACE + _TITLE + len(drawn) for drawn in after) + MARGIN)
    _photographs(sheet, images, line=maps.shape[1] == 1)
    _header(sheet, shown[0])
    sheet.text(MARGIN, top + 28, "before", weight="bold")
    rows = "a row for each photograph, a column for each feature map"
    sheet.text(_COLUMNS[0], top + 28, rows, color=FAINT)
    for number, name in enumerate(NAMES):
        x = MARGIN + number * (before.shape[1] + GAP) // len(NAMES)
        sheet.text(x, top + _TITLE + 12, name, 18, color=FAINT)
    sheet.paste(MARGIN, top + _TITLE + _NAMES, before)
    y = tall + _SPACE
    for case, drawn in zip(shown, after, strict=True):
        _title(sheet, y + 28, case)
        if case.yours:
            sheet.frame(MARGIN, y + _TITLE, *drawn.shape[:2])
        sheet.paste(MARGIN, y + _TITLE, drawn)
        y += _TITLE + len(drawn) + _SPACE
    return sheet


def _photographs(sheet: Sheet, images: Sequence[Image.Image], line: bool) -> None:
    """Draw the photographs; with `line`, mark the one in the middle that is read as a sequence."""
    for number, image in enumerate(images):
        row, column = divmod(number, 2)
        small = np.array(image.resize(_PHOTOGRAPH))
        if line:
            middle = len(small) // 2
            small[middle - 2 : middle + 2] = rgb(ACCENT)
        x, y = (i * (size + GAP) for i, size in zip((column, row), _PHOTOGRAPH, strict=True))
        sheet.paste(MARGIN + x, MARGIN + y, small)


def _header(sheet: Sheet, case: Case) -> None:
    counts = case.numbers
    x = MARGIN + 2 * (_PHOTOGRAPH[0] + GAP) + 28
    sheet.code(x, 52, case.request.pattern, WIDTH - MARGIN - x, 34, weight="bold")
    lines = [
        f"mask [{', '.join(case.brief)}] = {counts.mask_shape}: "
        f"{number_of(counts.count, 'coin')}, each for {number_of(counts.per_coin, 'value')}",
        fall_together(Pattern.parse(case.request.pattern)),
        tied(case.request, counts),
        BLIND,
    ]
    y = 102
    for line in filter(None, lines):
        sheet.text(x, y, line, 24)
        y += 38
    y += 12
    for colour, words in (
        (NEGATIVE, "below 0"),
        (ZERO, "0"),
        (POSITIVE, "above 0"),
        (DROPPED, "dropped: set to 0"),
    ):
        sheet.swatch(x, y, colour)
        sheet.text(x + 44, y, words)
        x += 70 + 13 * len(words)
    sheet.text(x, y, f"kept: × {counts.scale:.3g} (not drawn)", color=FAINT)


def _title(sheet: Sheet, y: int, case: Case) -> None:
    counts = case.numbers
    colour = ACCENT if case.yours else INK
    name = case.name if case.name == YOURS or not case.yours else f"{case.name} (your pattern)"
    sheet.text(MARGIN, y, name, weight="bold", color=colour)
    columns = (
        case.request.pattern,
        f"mask {counts.mask_shape}",
        number_of(counts.count, "coin"),
        f"{counts.actual:.1%} dropped",
    )
    ends = (*_COLUMNS[1:], WIDTH)
    for x, end, words in zip(_COLUMNS, ends, columns, strict=True):
        sheet.code(x, y, words, end - x - MARGIN, color=colour)


def strip(values: FeatureMaps, dropped: NDArray[np.bool_]) -> Colours:
    """Lay samples out as rows, maps side by side: (b, h, w, c) to colours (height, width, 3)."""
    colours = paint(values, dropped)
    samples, height, width, count = values.shape
    zoom = ZOOM if height > 1 else ZOOM * 10  # A line of pixels is drawn as a band.
    side = (WIDTH - 2 * MARGIN - (count - 1) * GAP) // count // width * width
    large = colours.repeat(zoom, axis=1).repeat(side // width, axis=2)
    sheet = np.full(
        (samples * (large.shape[1] + GAP) - GAP, count * (side + GAP) - GAP, 3), 255, np.uint8
    )
    for sample in range(samples):
        y = sample * (large.shape[1] + GAP)
        for number in range(count):
            x = number * (side + GAP)
            sheet[y : y + large.shape[1], x : x + side] = large[sample, :, :, number]
    return sheet

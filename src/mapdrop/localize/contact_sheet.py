"""Draw images side by side, each with lines of text below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

COLUMNS, WIDTH, HEIGHT, MARGIN, TEXT = 5, 260, 390, 8, 14
"""Pictures in a row, and pixels: of a picture at most, between them, and of the letters."""
LINE, SHEET = TEXT + 4, COLUMNS * (WIDTH + MARGIN) + MARGIN
"""Pixels of a line of text, and of the width of a sheet with full rows."""

Picture = tuple[Image.Image, str]
"""An image, and what is written below it."""
Colour = tuple[int, int, int]
Legend = Sequence[tuple[Colour, str]]
"""What colours mean."""


@dataclass(frozen=True)
class Section:
    """Pictures below a title of one line."""

    title: str
    pictures: Sequence[Picture]


def contact_sheet(pictures: Iterable[Picture]) -> Image.Image:
    """Return one image of several, each with its text below it, row by row."""
    small = [(_reduced(picture), text.split("\n")) for picture, text in pictures]
    height = max((picture.height for picture, _ in small), default=1)
    lines = max((len(text) for _, text in small), default=1)
    columns, rows = min(COLUMNS, max(1, len(small))), -(-len(small) // COLUMNS)
    cell = WIDTH + MARGIN, height + lines * LINE + 2 * MARGIN
    sheet = Image.new("RGB", (columns * cell[0] + MARGIN, rows * cell[1] + MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (picture, text) in enumerate(small):
        left = MARGIN + number % COLUMNS * cell[0]
        top = MARGIN + number // COLUMNS * cell[1]
        sheet.paste(picture, (left, top))
        for line, words in enumerate(text):
            _write(pen, (left, top + picture.height + 2 + line * LINE), words, WIDTH)
    return sheet


def sheet_of(heading: str, legend: Legend, sections: Iterable[Section]) -> Image.Image:
    """Return one image of several sections, below a line of text and what the colours mean."""
    parts = [_heading(heading), _explained(legend)]
    for section in sections:
        parts += [_heading(section.title, bold=True), contact_sheet(section.pictures)]
    sheet = Image.new("RGB", (SHEET, sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def shortened(text: str, width: float) -> str:
    """Return text of at most so many pixels, with an ellipsis in its middle if need be."""
    kept, short = len(text), text
    while kept and _length(short) > width:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def _heading(text: str, bold: bool = False) -> Image.Image:
    line = Image.new("RGB", (SHEET, MARGIN + LINE), "white")
    _write(ImageDraw.Draw(line), (MARGIN, MARGIN), text, SHEET - 2 * MARGIN, bold)
    return line


def _explained(legend: Legend) -> Image.Image:
    """Return squares with names, in as many lines as they need."""
    places, left, top = [], MARGIN, MARGIN
    names = [shortened(name, WIDTH) for _, name in legend]
    for name in names:
        wide = TEXT + 4 + round(_length(name)) + 2 * MARGIN
        if left + wide > SHEET:
            left, top = MARGIN, top + LINE
        places.append((left, top))
        left += wide
    shown = Image.new("RGB", (SHEET, top + LINE + MARGIN), "white")
    pen = ImageDraw.Draw(shown)
    for (x, y), name, (colour, _) in zip(places, names, legend, strict=True):
        pen.rectangle((x, y, x + TEXT, y + TEXT), colour, "black")
        _write(pen, (x + TEXT + 4, y), name, WIDTH)
    return shown


def _write(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, bold: bool = False
) -> None:
    edge = 0.4 if bold else 0
    pen.text(place, shortened(text, width), "black", font_size=TEXT, stroke_width=edge)


def _length(text: str) -> float:
    return ImageFont.load_default(TEXT).getlength(text)


def _reduced(picture: Image.Image) -> Image.Image:
    scale = min(WIDTH / picture.width, HEIGHT / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BOX)

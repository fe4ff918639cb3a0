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


@dataclass(frozen=True)
class Section:
    """Pictures below a title.

    Attributes:
        title: one line.
        colour: of the square before the title.
        pictures: in rows.
    """

    title: str
    colour: tuple[int, int, int]
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
            place = left, top + picture.height + 2 + line * LINE
            pen.text(place, shortened(words, WIDTH), "black", font_size=TEXT)
    return sheet


def sheet_of(heading: str, sections: Iterable[Section]) -> Image.Image:
    """Return one image of several sections, one below the other, under a line of text."""
    parts = [_titled(section) for section in sections]
    top, height = LINE + MARGIN, sum(part.height for part in parts)
    sheet = Image.new("RGB", (SHEET, top + height), "white")
    text = shortened(heading, SHEET - 2 * MARGIN)
    ImageDraw.Draw(sheet).text((MARGIN, MARGIN), text, "black", font_size=TEXT)
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def shortened(text: str, width: float) -> str:
    """Return text of at most so many pixels, with an ellipsis in its middle if need be."""
    font = ImageFont.load_default(TEXT)
    kept, short = len(text), text
    while kept and font.getlength(short) > width:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def _titled(section: Section) -> Image.Image:
    below = contact_sheet(section.pictures)
    sheet = Image.new("RGB", (SHEET, below.height + LINE + MARGIN), "white")
    sheet.paste(below, (0, LINE + MARGIN))
    pen, side = ImageDraw.Draw(sheet), TEXT
    pen.rectangle((MARGIN, MARGIN, MARGIN + side, MARGIN + side), section.colour, "black")
    start = 2 * MARGIN + side
    title = shortened(section.title, SHEET - start - MARGIN)
    pen.text((start, MARGIN - 1), title, "black", font_size=TEXT, stroke_width=0.4)
    return sheet


def _reduced(picture: Image.Image) -> Image.Image:
    scale = min(WIDTH / picture.width, HEIGHT / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BOX)

"""Draw images side by side, each with its joints and a line of text."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image, ImageDraw

COLUMNS, WIDTH, MARGIN, TEXT = 5, 260, 8, 14
"""Pictures in a row, and pixels: of a picture, between them, and of the letters."""


def contact_sheet(pictures: Iterable[tuple[Image.Image, str]]) -> Image.Image:
    """Return one image of several, each with the text below it, row by row."""
    small = [(_reduced(picture), text) for picture, text in pictures]
    height = max((picture.height for picture, _ in small), default=1)
    columns, rows = min(COLUMNS, max(1, len(small))), -(-len(small) // COLUMNS)
    cell = WIDTH + MARGIN, height + TEXT + 2 * MARGIN
    sheet = Image.new("RGB", (columns * cell[0] + MARGIN, rows * cell[1] + MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (picture, text) in enumerate(small):
        left = MARGIN + number % COLUMNS * cell[0]
        top = MARGIN + number // COLUMNS * cell[1]
        sheet.paste(picture, (left, top))
        pen.text((left, top + picture.height + 2), text, "black", font_size=TEXT)
    return sheet


def _reduced(picture: Image.Image) -> Image.Image:
    height = max(1, round(picture.height * WIDTH / picture.width))
    return picture.resize((WIDTH, height), Image.Resampling.BOX)

"""Compute the figures, draw the pictures, and fill in the tables of the pages."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.pictures import (
    batchnorm,
    block_masks,
    drop_block,
    few_images,
    neighbours,
    places,
    ramps,
    sixteen_bits,
    style,
)

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "pictures"
FIGURES = FOLDER / "figures.json"
PAGES = (DOCS / "how-to-choose.md", DOCS / "dropblock.md")
PICTURES: dict[str, Any] = {
    "places": places,
    "neighbours": neighbours,
    "batchnorm": batchnorm,
    "ramps": ramps,
    "few-images": few_images,
    "sixteen-bits": sixteen_bits,
    "drop-block": drop_block,
    "block-masks": block_masks,
}


def committed() -> dict[str, Any]:
    """Return the figures that the pictures were drawn from."""
    found: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found


def filled(text: str, figures: dict[str, Any]) -> str:
    """Return a page with its tables between `<!-- NAME -->` and `<!-- /NAME -->`."""
    for name, picture in PICTURES.items():
        if hasattr(picture, "lines"):
            text = _between(text, name, "\n".join(picture.lines(figures[name])))
    return text


def _between(text: str, name: str, table: str) -> str:
    marks = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=\n<!-- /{name} -->)", re.DOTALL)
    return marks.sub(lambda _: table, text)


def main(command: str = "") -> None:
    """Write everything."""
    if command != "draw":
        figures = {name: picture.figures() for name, picture in PICTURES.items()}
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    figures = committed()
    for name, picture in PICTURES.items():
        style.draw(picture, figures[name], FOLDER / f"{name}.svg")
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8"), figures), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

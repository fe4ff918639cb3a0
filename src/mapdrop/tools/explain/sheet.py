"""A page that is drawn on in pixels, from its upper left corner."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mapdrop.system.files import replacing
from mapdrop.tools.explain.colours import Colours

INK, FAINT, ACCENT = "#1f2328", "#59636e", "#b35900"
_DPI = 100
_LETTER = 0.62  # The width of a monospaced letter, of its size.


class Sheet:
    """A white page of a width and a height in pixels."""

    width: int
    height: int

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")

    def paste(self, x: int, y: int, colours: Colours) -> None:
        """Put (height, width, 3) colours at x, y, pixel for pixel."""
        self._figure.figimage(colours, x, self.height - y - len(colours), origin="upper")

    def text(self, x: int, y: int, words: str, size: float = 22, **style: Any) -> None:
        """Write words whose baseline is at y; `size` is in pixels."""
        self._figure.text(
            x / self.width,
            1 - y / self.height,
            words,
            fontsize=size * 72 / _DPI,
            parse_math=False,
            **{"color": INK, "va": "baseline", **style},
        )

    def code(self, x: int, y: int, words: str, room: int, size: float = 22, **style: Any) -> None:
        """Write monospaced words, smaller where they would take more room than there is."""
        fitting = min(size, room / (_LETTER * max(len(words), 1)))
        self.text(x, y, words, fitting, family="monospace", **style)

    def frame(self, x: int, y: int, rows: int, columns: int) -> None:
        """Draw a border around what will be pasted at x, y."""
        border = np.full((rows + 12, columns + 12, 3), rgb(ACCENT), np.uint8)
        border[4:-4, 4:-4] = 255
        self.paste(x - 6, y - 6, border)

    def swatch(self, x: int, y: int, colour: Sequence[int]) -> None:
        """Draw a sample of a colour beside words whose baseline is at y."""
        sample = np.full((22, 34, 3), colour, np.uint8)
        sample[[0, -1]] = sample[:, [0, -1]] = 160
        self.paste(x, y - 19, sample)

    def save(self, path: Path) -> None:
        """Write a PNG, complete or not at all. Raises OSError where it cannot be written."""
        raw = io.BytesIO()
        self._figure.savefig(raw, format="png", dpi=_DPI)
        drawn = Image.open(raw).convert("RGB")
        # 256 well-chosen colours look the same and take a third of the space; every ninth pixel
        # suffices to choose them. White stays white, or the page would show an edge.
        ninth = drawn.resize((drawn.width // 3, drawn.height // 3), Image.Resampling.NEAREST)
        chosen = ninth.quantize(255, kmeans=3).getpalette() or []
        palette = Image.new("P", (1, 1))
        palette.putpalette([255, 255, 255, *chosen[: 3 * 255]])
        indices = np.array(drawn.quantize(palette=palette, dither=Image.Dither.NONE))
        indices[(np.asarray(drawn) == 255).all(axis=-1)] = 0
        small = Image.fromarray(indices)
        small.putpalette(palette.getpalette() or [])
        with replacing(path, unique=True) as file:
            small.save(file, "png", optimize=True)


def rgb(colour: str) -> tuple[int, ...]:
    """Return a colour such as "#b35900" as three numbers."""
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
